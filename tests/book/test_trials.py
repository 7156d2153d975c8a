"""The pages on faults, other people's networks and speed say what the results say, and nothing where there are none."""

import json

import pytest
import rates
import speeds
import trials


@pytest.mark.parametrize("page", trials.PAGES, ids=lambda page: page.stem)
def test_committed_pages_are_what_the_results_give(page):
    assert page.read_text(encoding="utf-8") == trials.written(page), "make trials"


def test_without_results_the_pages_name_the_commands():
    assert trials.faults(None).count("not run yet") == 5 and "make zoo" in trials.zoo(None)


def test_losses_in_speed_stand_first(tmp_path):
    assert speeds.tables(tmp_path) == "*Not run yet.*\n"
    made_on = {"device": "a machine", "commit": "abc"}
    for name, ratio in (("a", 2.0), ("b", 0.5), ("c", 1.0)):
        entry = {"name": name, "unit": "s", "median": 1.0, "lowest": 0.9, "highest": 1.25, "ratio": ratio}
        content = {"suite": "blur", "environment": made_on, "entries": [entry, {"name": "without"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    lines = speeds.tables(tmp_path).splitlines()
    assert "1 of 3 below 1." in lines
    rows = [line for line in lines if "`abc`" in line]
    assert [row.split(" | ")[2] for row in rows] == ["b", "c", "a"]
    assert rows[0] == "| 0.50 | blur | b | 1 (0.9 to 1.25) s | a machine, `abc` |"


def test_the_best_peak_rate_is_marked(tmp_path):
    """Networks of a family are averaged; a rate at which one of them diverged is out, however good the other was."""
    assert rates.table(tmp_path) == "*Not run yet.*\n"
    tried = {"A-1, peak 0.3": 0.9, "A-6, peak 0.3": None, "A-1, peak 0.03": 0.2, "A-6, peak 0.03": 0.4, "A-1, peak 0.1": 0.5}
    content = {"families": {"A": tried}, "profile": "small", "half": "cifar100"}
    (tmp_path / "peak-rates-small-cifar100-machine.json").write_text(json.dumps(content))
    assert "| small, cifar100 | A | 0.03: 0.300, **0.1: 0.500**, 0.3: diverged |" in rates.table(tmp_path).splitlines()


def test_rows_say_what_was_found():
    made_on = {"device": "a machine", "commit": "abc", "date": "2026-01-01"}
    content = {
        "parts": {
            "kills": {
                "environment": made_on,
                "entries": [
                    {
                        "name": "kills",
                        "records_lost": 0,
                        "complete_afterwards": True,
                        "faults": [{}, {}],
                        "kinds": [".a", ".b"],
                    }
                ],
            }
        }
    }
    text = trials.faults(content)
    for row in (
        "| records lost | 0 |",
        "| complete afterwards | yes |",
        "| faults | 2 |",
        "| kinds | .a, .b |",
        "commit `abc`",
    ):
        assert row in text
    networks = {
        "works": {"state": "works", "seconds": {"rank": 1.4}, "layer": "a.b", "filters": 8, "peak_megabytes": 7},
        "fails": {"state": "fails", "step": "onnx", "why": "a | b `c`"},
        "not": {"state": "not run", "why": "large"},
    }
    text = trials.zoo(
        {
            "networks": {k: v | {"name": k, "library": "timm"} for k, v in networks.items()},
            "known": {"timm": 5},
            "versions": {"torch": "2"},
            "environment": made_on,
        }
    )
    for row in (
        "**timm**: 3 of 5 networks tried: 1 works, 1 fails, 1 not run within the limits; the other 2 are not tried yet.",
        "| `works` | works | 8 | 1 | 7 |",
        "| `fails` | fails at *onnx*: `a / b 'c'` | – | – | – |",
        "not run: `large`",
        "torch 2; a machine",
    ):
        assert row in text
