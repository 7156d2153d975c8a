"""`dclib show`: every table as text, Markdown or CSV, every figure as a file, against the paper's numbers in data/paper."""

import csv
import io

import joint_records
import numpy as np
import pytest
from claim_records import record
from matplotlib import image
from support import refused

from dclib import cli, paper
from dclib.distortions import DISTORTIONS
from dclib.experiments import profile, rows, unit_operations
from dclib.figures.files import write
from dclib.results import Store, pack_bits, pack_filters
from dclib.tables import NOT_RUN
from dclib.tables.drawn import DRAWN, panels
from dclib.tables.shown import FORMATS, frame

TABLES = [f"table{n}" for n in range(1, 16)]
AVERAGES = ("table5", "table9", "table13", "table14", "table15")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def bits(share, images=100, levels=7):
    """The same share of the images is right at every level."""
    return np.broadcast_to(np.arange(images) < round(share * images), (levels, images)).copy()


def printed(row):
    """The numbers of one of the paper's rows, as a table shows them."""
    if "units" in row:
        return [row["parameters_printed"], *(unit["flops_printed"] for unit in row["units"])]
    if "pvalue" in row:
        return [f"{row['pvalue']:g}"]
    return [f"{value:.4f}" for value in [*row.get("accuracy", ()), row["average"]]]


def shown(capsys, *arguments):
    assert cli.main(["show", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_the_papers_numbers(capsys, tmp_path, name, form):
    out = shown(capsys, name, "--format", form, "--results", str(tmp_path / "none"))
    number = int(name.removeprefix("table"))
    for row in paper.table(number)["rows"]:
        if number > 2 or row["dataset"] == "cifar100":
            assert all(value in out for value in printed(row))
    assert (NOT_RUN in out) == (name != "table10")
    if form == "csv":
        assert len({len(line) for line in csv.reader(io.StringIO(out))}) == 1
    else:
        assert ("no run is needed" if name == "table10" else f"`dclib run {name} --profile small`") in out
    if form == "markdown":
        lines = out.split("\n\n")[0].splitlines()
        assert len({line.count("|") for line in lines}) == 1 and all(line.startswith("| ") for line in lines)


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_are_those_of_the_records(store, name):
    shares = {}
    for i, (label, runs) in enumerate(rows(name, profile("small")).items()):
        shares[label] = 0.3 + i / 100
        for run in runs:
            store.put(record(run, bits(shares[label]), filters={"conv1": [3, 1], "conv2": [0]}))
    table = frame(name, "small", store)
    for label, share in shares.items():
        cells = table.loc[(label, "here, small")]
        assert cells["average"].split(" ±")[0] == f"{share:.4f}"
        if "conv2" in cells:
            assert cells[["conv1", "conv2", "conv3"]].tolist() == ["2", "1", "0"]
    assert all(source == "paper" for label, source in table.index if label not in shares)


def test_table_6_tests_levels_of_both_distortions(store):
    rng = np.random.default_rng(0)
    for label, runs in rows("table6", profile("small")).items():
        for run in runs:
            store.put(record(run, rng.random((7, 200)) < (0.7 if label.startswith("ranked") else 0.4)))
    table = frame("table6", "small", store)
    assert list(table.index.get_level_values(0)[::2]) == [row["method"] for row in paper.table(6)["rows"]]
    assert all(0 < float(p) < 1e-6 for p in table.xs("here, small", level=1)["p"])


def test_table_10_is_counted(store):
    table = frame("table10", "paper", store)
    for row in paper.table(10)["rows"]:
        own = table.loc[(row["method"], "here")]
        for unit in row["units"]:
            assert own[f"{unit['layer']} parameters"] == f"{unit['parameters']:,}"
            assert float(own[f"{unit['layer']} operations"].replace(",", "")) == pytest.approx(unit["flops"], rel=0.01)
            assert own[f"{unit['layer']} operations"] == f"{unit_operations(row['method'], unit['layer']):,}"


def test_a_study_of_our_own_has_no_line_of_the_papers(store):
    table = frame("budget", "smoke", store)
    assert set(table.index.get_level_values(1)) == {"here, smoke"} and set(table["average"]) == {NOT_RUN}


def test_a_study_at_one_distortions_levels_shows_each(store):
    """The clean column and the six levels stand apart, so that a gain on blurred images is seen beside what clean ones lose."""
    described = rows("efficientnet_noise", profile("small"))
    falling = np.arange(100) < 100 * np.linspace(0.7, 0.1, 7)[:, None]
    store.put(record(described["Finetune"][0], falling))
    table = frame("efficientnet_noise", "small", store)
    assert list(table.columns) == ["clean", *(f"σ_n = {sigma}" for sigma in (10, 20, 40, 60, 80, 100)), "average"]
    own = table.loc[("Finetune", "here, small")]
    assert [float(cell) for cell in own] == [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.4]
    assert table.loc[("Baseline", "here, small"), "clean"] == NOT_RUN


def test_a_figure_is_no_table(store):
    with refused("'figure4'"):
        frame("figure4", "small", store)
    with refused("table14", "'smoke'"):
        frame("table14", "smoke", store)


# ---------------------------------------------------------------- figures

#: Without a record: what is drawn of networks, and the paper's published curves.
PANELS = {"figure3": 2, "figure4": 2, "figure5": 2, "figure7": 1, "figure8": 2, "figure12": 2, "figure4_imagenet": 4}


def outcomes(name, label, run):
    """What the record of a run of a figure holds."""
    rng = np.random.default_rng(len(label))
    if run.kind == "swap":
        correct = {layer: rng.random((5, 6, 40)) < 0.5 for layer in run.layers}
        return {
            "accuracy": {layer: b.mean(-1).tolist() for layer, b in correct.items()},
            "images": 40,
            "correct_after": {layer: pack_bits(b) for layer, b in correct.items()},
            "distorted_accuracy": 6 * [0.2],
        }
    if run.kind == "rank":
        return {
            "first_filters": pack_filters(rng.random((96, 3, 11, 11))),
            "distorted_accuracy": 6 * [0.2],
            "swap_accuracy": {"conv1": rng.random((96, 6)).tolist()},
            "images": 40,
            "clean_accuracy": 0.5,
        }
    if run.kind == "embed":
        labels = list(run.shown) * 3
        return {
            "labels": labels,
            "points": rng.random((7, len(labels), 2)).tolist(),
            "separation": 7 * [0.5],
            "images": len(labels),
        }
    return {"curve": [{"iteration": i, "validation": [0.1 * i]} for i in (1, 2, 3)]}


@pytest.fixture
def filled(store):
    """A record of the first seed for every row of every figure."""
    for name in ("figure4", "figure6", "figure9", "figure10", "figure11", "figure12", "figure4_imagenet"):
        for label, runs in rows(name, profile("small")).items():
            own = outcomes(name, label, runs[0])
            store.put(record(runs[0], bits(0.4) if runs[0].kind == "train" else None, **own))
            base = runs[0].base
            if base is not None and base.kind == "train":
                store.put(record(base, bits(0.3)))
    for label, runs in rows("joint", profile("small")).items():
        if label.startswith("conv"):
            store.put(joint_records.record((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.3, 0.5, 0.6, 0.7), runs[0]))
    return store


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "figure1"])
def test_every_figure_has_panels_with_alt_texts(store, filled, name):
    drawn = panels(name, "small", filled)
    assert len(drawn) >= PANELS.get(name, 2) and all(panel.alt_text for panel in drawn)
    if name not in ("figure2", "figure3", "figure6", "figure7", "figure8", "figure10"):
        assert any("here, small" in panel.alt_text for panel in drawn)


@pytest.mark.parametrize("name", DRAWN)
def test_without_records_the_papers_part_is_drawn(store, name):
    if name in PANELS:
        assert len(panels(name, "small", store)) == PANELS[name]
    else:
        with refused("dclib run"):
            panels(name, "smoke" if name == "figure1" else "small", store)  # small has published weights


@pytest.mark.parametrize("name, dataset", [("figure4", "cifar100"), ("figure4_imagenet", "imagenet")])
def test_curves_of_figure_4_are_the_papers(store, name, dataset):
    drawn = panels(name, "small", store)[:: len(panels(name, "small", store)) // 2]
    for panel, distortion in zip(drawn, DISTORTIONS, strict=True):
        curves = paper.swap_fractions(dataset, distortion)["conv1"]
        assert [line.get_ydata().tolist() for line in panel.axes[0].lines] == curves.tolist()


def test_curves_of_figure_12_are_the_papers(store):
    for panel, distortion in zip(panels("figure12", "small", store), DISTORTIONS, strict=True):
        _, curves = paper.training_curves(distortion)
        assert [line.get_ydata().tolist() for line in panel.axes[0].lines] == [c.tolist() for c in curves.values()]


def test_figure_1_shows_what_a_network_says(capsys, tmp_path):
    results = ["--profile", "smoke", "--results", str(tmp_path / "results")]
    assert cli.main(["run", "table1", *results, "--quiet", "--device", "cpu"]) == 0
    capsys.readouterr()
    out = shown(capsys, "figure1", *results, "--output", str(tmp_path / "figure1.png"))
    assert out == f"{tmp_path / 'figure1.png'} written.\n"


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix, start", [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")])
def test_the_suffix_decides(store, tmp_path, suffix, start):
    drawn = panels("figure4", "small", store)
    path = write(drawn, tmp_path / "folder" / f"figure4{suffix}")
    content = path.read_bytes()
    assert content.startswith(start)
    assert write(panels("figure4", "small", store), path).read_bytes() == content  # equal panels, equal files
    if suffix == ".svg":
        text = content.decode()
        assert text.count("<svg ") == 1 + len(drawn) and text.count("<title>Line chart, the paper") == len(drawn)
    if suffix == ".png":
        assert image.imread(path).shape[1] == pytest.approx(2 * 192 * drawn[0].get_figwidth(), abs=2)
    if suffix == ".pdf":
        assert content.count(b"/Type /Page ") == len(drawn)


def test_files_that_cannot_be_written(store, tmp_path):
    drawn = panels("figure7", "small", store)
    with refused("'figure7.gif'", ".svg"):
        write(drawn, "figure7.gif")
    (tmp_path / "file").touch()
    with refused("--output"):
        write(drawn, tmp_path / "file" / "figure7.svg")
