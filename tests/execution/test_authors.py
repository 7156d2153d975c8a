"""The networks that the authors published, for whoever has them: read, converted, tested, shown beside the paper's and ours.

Their files are not at hand. Files of exactly their format are written from the seeds of tests/data/keras_order.json, which
has what real Keras 1.2.1 on Theano 0.9.0 gave for the same networks.
"""

import base64
import dataclasses
import io
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_files import ORDER, Python2, arrays, inputs
from support import check_sentence, data_of, listing, refused, settled

from dclib import cli, tables
from dclib.correction import UnitDesign, correct
from dclib.datasets import Dataset
from dclib.execution import inputs as parts
from dclib.experiments import PROFILES, TARGETS, baseline, method_run, profile, profiles, rows
from dclib.experiments.published import FILES
from dclib.models import AllConvNet
from dclib.published import checked_file, corrected_filters, git_blob, load_arrays, read_arrays
from dclib.results import Store
from dclib.zoo import load_model

#: What numpy.save 1.15.4 wrote under Python 2.7.18 for [arange(4) as [2, 2], [0.5]] in float32.
GENUINE = base64.b64decode(
    "k05VTVBZAQB2AHsnZGVzY3InOiAnfE8nLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMiwpLCB9ICAgICAgICAgICAgICAgIC"
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAqAAmNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0"
    "CnEBY251bXB5Cm5kYXJyYXkKcQJLAIVVAWKHUnEDKEsBSwKFY251bXB5CmR0eXBlCnEEVQJPOEsASwGHUnEFKEsDVQF8Tk5OSv////9K/////0"
    "s/dGKJXXEGKGgBaAJLAIVVAWKHUnEHKEsBSwJLAoZoBFUCZjRLAEsBh1JxCChLA1UBPE5OTkr/////Sv////9LAHRiiVUQAAAAAAAAgD8AAABA"
    "AABAQHRiaAFoAksAhVUBYodScQkoSwFLAYVoCIlVBAAAAD90YmV0Yi4="
)


def network(name, width=96, narrow=50):
    """An `AllConvNet` with units on the first `narrow` filters of conv1..conv3, on twice as many of the wider layers."""
    k = int(name.rpartition("-")[2]) if "-" in name else 0
    whole = AllConvNet(width=width)
    return (correct(whole, {f"conv{i}": range(narrow * (1 + (i > 3))) for i in range(1, k + 1)}) if k else whole).eval()


def _equal(logits, expected):
    """Up to the rounding of single precision: logits of the deeper networks go up to 200."""
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 + 1e-6 * np.abs(expected).max())


# ---------------------------------------------------------------- the format, and what Keras gave


def test_files_of_these_tests_are_what_python_2_wrote():
    values = [np.arange(4, dtype=np.float32).reshape(2, 2), np.array([0.5], dtype=np.float32)]
    assert Python2().saved(values) == GENUINE
    for found, value in zip(read_arrays(GENUINE, "genuine"), values, strict=True):
        assert found.dtype == value.dtype and np.array_equal(found, value)
    assert np.array_equal(np.load(io.BytesIO(GENUINE), allow_pickle=True, encoding="latin1")[0], values[0])


@pytest.mark.parametrize("write", [Python2.saved, Python2.pickled])
def test_arrays_are_read_as_they_were_written(write):
    values = arrays(["weight 300 2 3 3", "bias 300", "weight 5 300 1 1", *["scale 5"] * 90])
    for found, value in zip(read_arrays(write(Python2(), values), "a.npy"), values, strict=True):
        assert found.dtype == np.float32 and np.array_equal(found, value)


@pytest.mark.parametrize("name", ORDER)
def test_a_converted_network_is_that_of_keras(name):
    converted = network(name)
    load_arrays(converted, read_arrays(Python2().saved(arrays(ORDER[name]["arrays"])), name), name)
    with torch.inference_mode():
        logits = converted(torch.tensor(inputs()[:2], dtype=torch.float32)).numpy()
    _equal(logits, ORDER[name]["logits"])


def test_the_whole_oracle_where_it_is_at_hand():
    places = (folder / "shared" / "paper" / "keras-order.json" for folder in Path(__file__).resolve().parents)
    path = next((path for path in places if path.exists()), None)
    if path is None:
        pytest.skip("the outputs of Keras for all images are not at hand")
    for name, whole in json.loads(path.read_text())["networks"].items():
        assert [line.split()[1:] for line in ORDER[name]["arrays"]] == [
            [str(n) for n in row[3]] for row in whole["get_weights"]
        ]
        converted = network(name)
        load_arrays(converted, arrays(ORDER[name]["arrays"]), name)
        with torch.inference_mode():
            logits = converted(torch.tensor(inputs(), dtype=torch.float32))
        _equal(logits.numpy(), whole["logits_float32"])
        assert np.abs(logits.softmax(1).numpy() - whole["outputs_float32"]).max() < 2e-5


def test_kernels_and_the_order_of_layers_matter():
    """The oracle would not pass a network whose kernels are not turned around."""
    plain = network("baseline")
    values = arrays(ORDER["baseline"]["arrays"])
    load_arrays(plain, [value[..., ::-1, ::-1].copy() if value.shape[2:] == (3, 3) else value for value in values])
    with torch.inference_mode():
        logits = plain(torch.tensor(inputs()[:2], dtype=torch.float32)).numpy()
    assert np.abs(logits - ORDER["baseline"]["logits"]).max() > 1


def test_corrected_filters_are_named_by_the_baselines_numbers():
    whole = settled(AllConvNet(width=6))
    order = {layer: torch.randperm(getattr(whole, layer).out_channels) for layer in ("conv1", "conv2", "conv3")}
    permuted, before = AllConvNet(width=6), None
    permuted.load_state_dict(whole.state_dict())
    with torch.no_grad():
        for layer, those in order.items():
            weight = getattr(whole, layer).weight[those]
            getattr(permuted, layer).weight.copy_(weight if before is None else weight[:, before])
            before = those
    corrected = settled(correct(permuted, {layer: range(3) for layer in order}), seed=1)  # other statistics do not matter
    assert corrected_filters(corrected, whole) == {layer: those[:3].tolist() for layer, those in order.items()}
    assert corrected_filters(corrected, AllConvNet(width=6)) is None
    assert corrected_filters(whole, whole) == {}


# ---------------------------------------------------------------- what is refused


class _Call:
    def __reduce__(self):
        return print, ("called",)


class _Shape:
    def __reduce__(self):
        return np.ndarray, ((3,),)


def test_a_pickle_calls_nothing(capsys):
    for word, value in (("__builtin__.print", _Call()), ("called", _Shape())):
        content = pickle.dumps([value], 2)
        with refused("expected"):
            read_arrays(content, "a.npy")
        assert capsys.readouterr().out == "", word
    with refused("NumPy arrays and nothing else", "posix.system", "do not use"):
        read_arrays(b"cposix\nsystem\n(S'true'\ntR.", "a.npy")
    with refused("numpy.load"):
        read_arrays(b"\x80\x02cnumpy\nload\n.", "a.npy")


def _named_array(kind):
    file = io.BytesIO()
    np.save(file, np.zeros(3, kind))
    return file.getvalue()


@pytest.mark.parametrize(
    "content, words",
    [
        (GENUINE[:-30], ("pickled list of arrays", "fetch")),
        (GENUINE[:60], ("pickled list",)),
        (b"", ("pickled list",)),
        (b"no pickle", ("pickled list",)),
        (_named_array("f4"), ("one array of float32",)),
        (pickle.dumps({}, 2), ("a dict",)),
        (pickle.dumps([1.5], 2), ("place 0", "float")),
        (pickle.dumps([np.array("word")], 2), ("nothing else", "_codecs.encode")),
        (b"\x80\x02cnumpy\ndtype\nU\x02M8\x85R.", ("nothing else", "elements 'M8'")),
        (b"\x93NUMPY\x03\x00", ("pickled list",)),
    ],
)
def test_what_is_no_list_of_arrays(content, words):
    with refused("a.npy", *words):
        read_arrays(content, "a.npy")


def test_no_file_of_others_is_opened_by_a_plain_pickle():
    plain = re.compile(r"\b(pickle\.loads?|joblib\.load|torch\.load)\((?!.*weights_only=True)|allow_pickle=True")
    found = [
        path.name
        for folder in ("dclib", "scripts", "benchmarks")
        for path in (Path(__file__).resolve().parents[2] / folder).rglob("*.py")
        if plain.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["cifar.py"]  # which opens what torchvision has checked by its hash


@pytest.fixture
def plain():
    return AllConvNet(width=4), [value for value in arrays(_order(network("baseline", 4)))]


def _order(network):
    """The lines of the arrays of a network, as keras_order.json has them."""
    from dclib.published.conversion import _places

    kinds = {"the weights": "weight", "the bias": "bias"}
    return [
        " ".join([kinds.get(" ".join(what.split()[:2]), what.split()[0]), *map(str, tensor.shape)])
        for what, tensor in _places(network)
    ]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: a[:-1], ("54 arrays", "got 53")),
        (lambda a: [*a, a[0]], ("54 arrays", "got 55")),
        (lambda a: [a[1], a[0], *a[2:]], ("the weights of conv1 as array 0", "[4, 3, 3, 3]", "[4]")),
        (
            lambda a: [a[0], a[1], a[2], a[3], a[5], a[4] - 1, *a[6:]],
            ("variance of conv1's BatchNorm as array 5", "cannot have"),
        ),
        (lambda a: [a[0].astype(np.float64), *a[1:]], ("float32 [4, 3, 3, 3]", "float64")),
        (lambda a: [a[0].reshape(3, 4, 3, 3), *a[1:]], ("[4, 3, 3, 3]", "[3, 4, 3, 3]")),
        (lambda a: [a[0] * np.float32("nan"), *a[1:]], ("array 0", "cannot have")),
    ],
)
def test_arrays_that_are_not_those_of_the_network(plain, change, words):
    whole, values = plain
    with refused("a.npy", *words):
        load_arrays(whole, change(values), "a.npy")


@pytest.mark.parametrize(
    "content, words",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5571978\n",
            ("pointer of Git LFS", "git lfs pull"),
        ),
        (b"\n<!DOCTYPE html><html></html>", ("web page", "raw file")),
        (b"<html>", ("web page",)),
        (GENUINE[:-7], (git_blob(GENUINE)[:12], "truncated", f"{len(GENUINE) - 7} bytes")),
        (b"", ("0 bytes",)),
    ],
)
def test_files_that_are_not_the_published_ones(tmp_path, content, words):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with refused("a.npy", *words):
        checked_file(path, git_blob(GENUINE))
    path.unlink()
    with refused("a.npy", "No such file"):
        checked_file(path, git_blob(GENUINE))


def test_hashes_are_those_of_git():
    assert git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # what git calls the empty file
    assert git_blob(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # Pro Git, chapter 10.2
    assert len(FILES) == len({name for name, _ in FILES.values()}) == len({blob for _, blob in FILES.values()}) == 15
    assert all(re.fullmatch("[0-9a-f]{40}", blob) for _, blob in FILES.values())


# ---------------------------------------------------------------- from a clone to the tables


@pytest.fixture
def narrow(monkeypatch):
    """The profile at a width of 8, and 37 test images of which the baseline is right about as many as the paper says."""
    whole = PROFILES["authors"]()
    p = dataclasses.replace(
        whole, width=8, narrow=4, wide=8, ranking_images=1, design=UnitDesign(width=5, input_batchnorm=True)
    )
    monkeypatch.setitem(PROFILES, "authors", lambda: p)
    profiles.profile.cache_clear()
    yield p
    profiles.profile.cache_clear()


@pytest.fixture
def clone(narrow, tmp_path, monkeypatch):
    """A clone with files of all networks but one, whose hashes are those that dclib expects, and the data to test them."""
    folder = tmp_path / "clone" / "cifar_models"
    folder.mkdir(parents=True)
    own = {}
    for number, ((method, distortion), (name, _)) in enumerate(FILES.items()):
        run = baseline(narrow) if distortion is None else method_run(narrow, method, distortion)
        base = AllConvNet(width=8)
        shaped = parts.with_method(run, base, parts.filters_of(run, None) if run.selection else {}) if run.base else base
        own[method, distortion] = arrays(_order(shaped), 1000 * number)
        content = Python2().saved(own[method, distortion])
        (folder / name).write_bytes(content)
        monkeypatch.setitem(FILES, (method, distortion), (name, git_blob(content)))
    network = AllConvNet(width=8).eval()
    load_arrays(network, own["Baseline", None])
    images = data_of(37, classes=100)
    with torch.inference_mode():
        right = network(images.images.float()).argmax(1)
    labels = torch.where(torch.arange(37) < 26, right, (right + 1) % 100)  # 26 of 37 are 0.7027
    data = dataclasses.replace(images, labels=labels)
    dataset = Dataset("cifar100", data, data, data, tuple(map(str, range(100))), "cifar100", "f" * 64)
    monkeypatch.setattr("dclib.execution.inputs.data_for", lambda run: dataset)
    monkeypatch.setattr("dclib.execution.swaps.ranking_images", lambda run, data: data.train)
    monkeypatch.setenv("DCLIB_RESULTS", str(tmp_path / "results"))
    return folder.parent


def _main(*arguments):
    return cli.main([*map(str, arguments), "--quiet", "--device", "cpu"])


def test_from_a_clone_to_the_tables(clone, capsys, store, tmp_path):
    lacking = clone / "cifar_models" / "CIFAR_100_blur_dc_top50_l3.npy"
    lacking.unlink()
    assert _main("authors", clone) == 0
    said = capsys.readouterr().out
    assert "14 of 15 networks of the authors are as they were published; not there: CIFAR_100_blur_dc_top50_l3.npy." in said
    assert re.search(r"(\d+) of \1 runs recorded", said)
    p = profile("authors")
    there = {target: {label: store.get(runs[0]) for label, runs in rows(target, p).items()} for target in p.targets}
    assert [label for label, record in there["table3"].items() if not record] == ["Deepcorr-3"]
    assert all(there["table4"].values()) and all(there["figure4"].values())
    assert set(there["table3"]) == {
        "Baseline",
        *(f"Finetune-{k}" for k in (1, 3, 6, 9)),
        *(f"Deepcorr-{k}" for k in (1, 3, 6)),
    }
    assert there["table3"]["Baseline"].accuracy[0] == pytest.approx(26 / 37)
    assert there["table3"]["Deepcorr-1"].outcome["unit_share"].keys() == {"conv1"}
    assert rows("table5", p) == rows("audit", p) == rows("table7", p) == {}
    assert load_model("deepcorr-6", profile="authors").profile == "authors"
    _shown(capsys, store, there["table3"])


def _shown(capsys, store, records):
    """Their rows stand beside the paper's and those of any other profile, with where they come from."""
    frame = tables.beside("table3", "small", store)
    assert list(frame.loc["Finetune-1"].index) == ["paper", "here, authors", "here, small"]
    assert list(frame.loc["Deepcorr-1c"].index) == ["paper", "here, small"]
    assert frame.loc[("Finetune-1", "here, authors"), "clean"] == f"{records['Finetune-1'].accuracy[0]:.4f}"
    assert frame.loc[("Finetune-1", "here, small"), "clean"] == tables.NOT_RUN
    styled = tables.styled("table3", "small", store).to_html()
    assert "here, authors" in styled and "the networks that the authors published" in styled
    assert cli.main(["show", "table3", "--profile", "authors"]) == 0
    said = capsys.readouterr().out
    assert said.count("here, authors") == len(records) and said.count(tables.NOT_RUN) == 1
    assert "made with `dclib authors PATH`" in said and "the networks that the authors published" in said
    assert "`dclib authors PATH`" in tables.source_lines("table3", store)
    assert cli.main(["show", "figure4", "--profile", "authors", "--output", str(store.folder / "f.svg")]) == 0
    assert "made with `dclib authors PATH`" in capsys.readouterr().out


def test_a_second_call_and_a_plain_run_find_what_is_there(clone, capsys, store):
    assert _main("authors", clone / "cifar_models", "table1") == 0
    assert _main("authors", clone, "table1") == 0
    assert _main("run", "table1", "--profile", "authors") == 0
    assert "2 of 2 runs recorded" in capsys.readouterr().out.splitlines()[-1]
    assert len(store.records()) == 2


def test_ours_alone_is_shown_as_before(store):
    assert list(tables.beside("table3", "small", store).loc["Finetune-1"].index) == ["paper", "here, small"]


@pytest.mark.parametrize(
    "spoil, words",
    [
        (
            lambda folder: (folder / FILES["Finetune-1", "blur"][0]).write_bytes(b"\x93NUMPY"),
            ("finetune_layers_1", "git blob"),
        ),
        (lambda folder: (folder / FILES["Baseline", None][0]).unlink(), ("fine_best_model.npy", "14 others")),
        (lambda folder: [path.unlink() for path in folder.iterdir()], ("none of their files", "clone")),
        (
            lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir() or folder.parent.rmdir(),
            ("clone of the authors' repository", "got none"),
        ),
    ],
)
def test_a_clone_that_cannot_be_used(clone, capsys, tmp_path, spoil, words):
    spoil(clone / "cifar_models")
    assert _main("authors", clone) == 2
    check_sentence(capsys.readouterr().err.strip(), *words)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "key, change, words",
    [
        (("Deepcorr-6", "awgn"), lambda a: a[:-4], ("awgn_dc_top50_l6.npy", "222 arrays", "218")),
        (("Deepcorr-1", "blur"), lambda a: [a[0].transpose(1, 0, 2, 3), *a[1:]], ("weights of conv1", "[8, 3, 3, 3]")),
        (("Baseline", None), lambda a: [*a[:2], a[2][::-1] + 1, *a[3:]], ("0.7028", "clean")),
    ],
)
def test_a_network_that_is_another(clone, capsys, monkeypatch, tmp_path, key, change, words):
    """Right hashes, as if dclib had been told of these files, but not what stands in them."""
    path = clone / "cifar_models" / FILES[key][0]
    content = Python2().saved([np.ascontiguousarray(a) for a in change(read_arrays(path.read_bytes(), "a"))])
    path.write_bytes(content)
    monkeypatch.setitem(FILES, key, (path.name, git_blob(content)))
    assert _main("authors", clone, "table1") == 2
    check_sentence(capsys.readouterr().err.strip(), *words)
    assert [name for name in listing(tmp_path / "results") if name.endswith((".json", ".safetensors"))] == []


def test_other_targets_and_networks_that_were_not_brought(clone, capsys, store):
    assert _main("authors", clone, "table5") == 2
    check_sentence(capsys.readouterr().err.strip(), "table1", "'table5'")
    assert _main("run", "table3", "--profile", "authors") == 2
    check_sentence(capsys.readouterr().err.strip(), "weights of Baseline of the authors", "dclib authors")
    with refused("Finetune-1", "'Deepcorr-1c'"):
        method_run(profile("authors"), "Deepcorr-1c", "blur")


def test_every_target_of_the_profile_is_one():
    assert set(PROFILES["authors"]().targets) <= set(TARGETS)
    assert Store("/nowhere").get(baseline(profile("authors"))) is None
