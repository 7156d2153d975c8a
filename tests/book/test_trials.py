"""The pages on faults and on other people's networks say what the results say, and nothing where there are none."""

import pytest
import trials


@pytest.mark.parametrize("page", trials.PAGES, ids=lambda page: page.stem)
def test_committed_pages_are_what_the_results_give(page):
    assert page.read_text(encoding="utf-8") == trials.written(page), "make trials"


def test_without_results_the_pages_name_the_commands():
    assert trials.faults(None).count("not run yet") == 5 and "make zoo" in trials.zoo(None)


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
            "versions": {"torch": "2"},
            "environment": made_on,
        }
    )
    for row in (
        "1 works, 1 fails, 1 not run, of 3 tried.",
        "| timm `works` | works | `a.b` | 8 | 1 | 7 |",
        "| timm `fails` | fails at *onnx*: `a / b 'c'` | – | – | – | – |",
        "not run: `large`",
        "torch 2; a machine",
    ):
        assert row in text
