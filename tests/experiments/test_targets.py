"""Every table and figure is one object: what is known of it stands in one line, and a new one takes two files."""

import hashlib
import json
import re
import shutil

import pytest
from support import refused

from dclib import cli, experiments, paper, tables
from dclib.experiments import TARGETS, StandIn, Target, cifar100, profile, rows, stand_in, target_of
from dclib.results import Store


@pytest.fixture
def table16(tmp_path, monkeypatch):
    """Table 16 with two rows: one line among the targets, and one file with the numbers."""
    shutil.copytree(paper.FOLDER, tmp_path / "paper")
    monkeypatch.setattr(paper, "FOLDER", tmp_path / "paper")
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path / "results"))
    printed = [
        {"method": method, "accuracy": [0.75] + 6 * [0.5], "average": 0.5357, "parameters": 12}
        for method in ("Finetune-2", "Deepcorr-2")
    ]
    content = json.dumps({"table": 16, "title": "Two layers", "rows": printed})
    (tmp_path / "paper" / "table16.json").write_text(content)
    with (tmp_path / "paper" / "SHA256SUMS").open("a") as seals:
        seals.write(f"{hashlib.sha256(content.encode()).hexdigest()}  table16.json\n")

    def two_rows(p, seeds, distortion):
        return {m: [cifar100.method_run(p, m, distortion, s) for s in seeds] for m in ("Finetune-2", "Deepcorr-2")}

    monkeypatch.setitem(
        TARGETS,
        "table16",
        Target("table16", "audit", table=16, rows=two_rows, distortion="blur", levels="cifar100", labels=("method",)),
    )


def test_a_table_more_is_known_everywhere(table16, capsys, tmp_path):
    assert cli.main(["list", "--profile", "smoke"]) == 0
    assert re.search(r"^table16 +0 of +4 runs recorded", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["list", "--missing", "--profile", "smoke"]) == 0
    assert "Table 16: " in capsys.readouterr().out
    assert cli.main(["show", "table16", "--profile", "smoke"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("0.5357") == 2 and shown.count(tables.NOT_RUN) == 3 and "dclib run table16" in shown
    assert experiments.in_paper()[15].title == "Table 16"


def test_names_are_those_of_the_targets():
    assert all(name == target.name for name, target in TARGETS.items())
    assert {target.runs_of for target in TARGETS.values()} <= {"", *TARGETS}
    assert len({target.title for target in TARGETS.values()}) == len(TARGETS)
    with refused("'table77'"):
        target_of("table77")


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.labels])
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_each_row_is_one_of_the_papers(name, scale):
    for label in rows(name, profile(scale)):
        assert TARGETS[name].printed(label)["method"] in label


def test_what_needs_no_run_has_no_rows():
    for name in ("table10", "figure1", "figure3", "figure7", "figure8"):
        assert TARGETS[name].runs_of == "" and rows(name, profile("paper")) == {}
    assert rows("figure2", profile("small")) == rows("figure10", profile("small"))


def test_a_rivals_note_is_its_own():
    whole, others = (stand_in("table7", profile("small"), rivals=rivals) for rivals in (True, False))
    assert whole == (*others, StandIn("NCSR's row is a Wiener deconvolution"))
    assert stand_in("table3", profile("paper")) == ()
    assert tables.published_profile("table10", Store("/nowhere")) == "small"
