"""Runs that are found part by part: stopped after any of them they end as undisturbed ones do, and take none up twice."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import RANKING, data_of, refused, two_convolutions
from torch import nn

from dclib import ranking, restoration, transfer
from dclib.datasets import Collection, Dataset
from dclib.execution import checkpoint, inputs, makers, obtaining, swaps
from dclib.experiments import Run, Selection
from dclib.files import write_whole
from dclib.results import Record, Store
from dclib.training import OutOfTime, Schedule

SIGMAS = (5.0, 30.0)
AWGN = {"distortion": "awgn", "sigmas": SIGMAS}
BASE = Run("train", "Baseline", "d", "f" * 64, 10, 2, 0, schedule=Schedule(6, 10, 0.05, (), 3))
RANKED = dataclasses.replace(RANKING, base=BASE, layers=("0", "2"), **AWGN)
SWAPPED = Run(
    "swap",
    "Figures 4 and 5",
    "d",
    "f" * 64,
    2,
    2,
    0,
    **AWGN,
    layers=("0",),
    fractions=(0.5, 1.0),
    selection=Selection("ranked", "local", "priority", ()),
    base=BASE,
    ranking=RANKED,
)
RUNS = {
    "rank": RANKED,
    "swap": SWAPPED,
    "train": dataclasses.replace(BASE, **AWGN),
    "evaluate": Run("evaluate", "Baseline", "d", "f" * 64, 10, 2, 0, **AWGN, base=BASE),
    "restore": Run("evaluate", "BM3D", "d", "f" * 64, 10, 2, 0, **AWGN, base=BASE, restoration="bm3d"),
    "transfer": Run(
        "transfer", "Baseline", "d", "f" * 64, 3, 0, 0, **AWGN, base=BASE, features="0", trained_on="all levels"
    ),
    "embed": Run("embed", "Baseline", "d", "f" * 64, 10, 2, 0, **AWGN, base=BASE, features="0", shown=(1, 3, 5)),
}
#: Parts of each kind: of a ranking 1 + 2 levels before and 2 levels of 2 layers, 2 times 100 images; and so on.
PARTS = {
    "rank": 3 + 2 * 2 * 2,
    "swap": 3 + 2 * 1 * 2,
    "train": 3,
    "evaluate": 3,
    "restore": 1 + 2 * 11,
    "transfer": 3 + 5,
    "embed": 3 + 3,
}


@pytest.fixture
def few(monkeypatch, store):
    """110 images, or 400 for SVMs, a network of two convolutions, its record, and a restoration that only brightens."""
    split, many = data_of(110), data_of(200, 1, classes=3)
    torch.manual_seed(1)
    model = two_convolutions()
    model(split.images.float())
    data = Dataset("d", split, split, split, tuple("abcdefghij"), "cifar100", "f" * 64)

    monkeypatch.setattr(inputs, "data_for", lambda run: data)
    monkeypatch.setattr(inputs, "network", lambda run, store: copy.deepcopy(model).eval())
    monkeypatch.setattr(swaps, "ranking_images", lambda run, data: data.train)
    monkeypatch.setattr(inputs, "untrained", lambda run, store: copy.deepcopy(model))
    collection = Collection("d", many, tuple("abc"), "cifar100", "f" * 64)
    monkeypatch.setattr(inputs.datasets, "collection", lambda name: collection)
    monkeypatch.setitem(restoration.RESTORATIONS, "bm3d", lambda images, sigma: images + sigma)
    store.put(
        Record(
            RANKED.description,
            {"swap_accuracy": {"0": [[f / 10] * 2 for f in range(6)]}, "distorted_accuracy": [0.1, 0.1]},
            {},
            {},
        )
    )
    return store


def made(run, store, deadline=None, report=None):
    return obtaining.make(run, store, "cpu", deadline, report)


@pytest.fixture
def undisturbed(few, tmp_path):
    def outcome(run):
        calm = Store(tmp_path / "calm")
        calm.put(few.get(RANKED))
        return made(run, calm)[0]

    return outcome


@pytest.mark.parametrize("kind", RUNS)
def test_stopped_after_every_part(few, undisturbed, kind):
    run, stops = RUNS[kind], 0
    while True:
        try:
            outcome, cost = made(run, few, deadline=-1.0)
            break
        except OutOfTime:
            stops += 1
            assert few.checkpoint(run).exists() and stops < 40
    assert stops == PARTS[kind] + 6 * (kind == "train") - (kind == "train")  # the last iteration is followed by a part
    assert outcome == undisturbed(run) and cost["seconds"] > 0


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("at", [1, 3, 5])
def test_killed_after_some_parts(few, undisturbed, monkeypatch, kind, at):
    """As by SIGKILL: nothing is written in the end; what was written before is used."""
    monkeypatch.setattr(checkpoint, "_BETWEEN_WRITES", -1.0)
    run, real, kept = RUNS[kind], checkpoint.Parts.keep, []
    at = min(at, PARTS[kind])

    class Killed(BaseException):
        pass

    def keep(parts, name, part):
        real(parts, name, part)
        kept.append(name)
        if len(kept) == at:
            raise Killed

    monkeypatch.setattr(checkpoint.Parts, "__exit__", lambda *_: None)
    monkeypatch.setattr(checkpoint.Parts, "keep", keep)
    with pytest.raises(Killed):
        made(run, few)
    outcome, _ = made(run, few)
    assert len(kept) == len(set(kept)) == PARTS[kind]
    assert outcome == undisturbed(run)


def test_what_was_found_is_not_computed_again(few, monkeypatch):
    for _ in range(6):  # both levels before, and three parts
        with pytest.raises(OutOfTime):
            made(RANKED, few, deadline=-1.0)
    calls = []
    real = ranking.SwapNetwork.swap_each
    monkeypatch.setattr(
        ranking.SwapNetwork, "swap_each", lambda self, layer, *values: calls.append(layer) or real(self, layer, *values)
    )
    monkeypatch.setattr(swaps, "hits_on", None)
    made(RANKED, few)
    assert len(calls) == 2 * 2 * 2 - 3


def test_a_tested_network_is_not_trained_again(few, monkeypatch):
    run = RUNS["train"]
    for _ in range(6):
        with pytest.raises(OutOfTime):
            made(run, few, deadline=-1.0)
    monkeypatch.setattr(makers, "train", None)
    outcome, _ = made(run, few)
    assert [look["iteration"] for look in outcome["curve"]] == [3, 6]


def test_an_interrupt_writes_what_is_new(few, monkeypatch):
    def interrupt(done, total, note):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(RANKED, few, report=interrupt)
    with safe_open(few.checkpoint(RANKED), "pt") as file:
        assert len(file.keys()) == 4


def test_a_quick_run_writes_no_checkpoint(few, monkeypatch):
    monkeypatch.setattr(checkpoint.Parts, "write", None)
    for kind in ("rank", "swap", "evaluate"):
        made(RUNS[kind], few)


def test_the_report_counts_parts(few):
    reports = []
    made(RANKED, few, report=lambda *values: reports.append(values))
    assert reports == [(n + 1, PARTS["rank"], "") for n in range(PARTS["rank"])]


def test_seconds_are_those_of_all_sittings(few):
    with pytest.raises(OutOfTime):
        made(RANKED, few, deadline=-1.0)
    longer = json.dumps({"seconds": 1000.0})
    rewritten(
        few.checkpoint(RANKED), metadata=lambda m: m | {"facts": longer, "checksum of facts": checkpoint._digest(longer)}
    )
    assert made(RANKED, few)[1]["seconds"] > 1000


# ---------------------------------------------------------------- checkpoints that are not this run's


def rewritten(path, tensors=lambda t: t, metadata=lambda m: m):
    with safe_open(path, "pt") as file:
        before = file.metadata()
    save_file(tensors(load_file(path)), path, metadata(before))


def flipped(tensors):
    name = next(name for name in tensors if name.startswith("after"))
    return tensors | {name: ~tensors[name]}


DAMAGE = {
    "empty": lambda p: p.write_bytes(b""),
    "half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "last byte": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "one byte": lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
    "noise": lambda p: p.write_bytes(b"\x93\x07" * 500),
    "flipped bits": lambda p: rewritten(p, flipped),
    "a part less": lambda p: rewritten(p, lambda t: dict(list(t.items())[1:])),
    "another ranking": lambda p: rewritten(p, metadata=lambda m: m | {"run": "0" * 16}),
    "another version": lambda p: rewritten(p, metadata=lambda m: m | {"version": "0"}),
    "a training": lambda p: rewritten(p, metadata=lambda m: {"progress": "{}"}),
    "no metadata": lambda p: rewritten(p, metadata=lambda m: None),
    "no facts": lambda p: rewritten(p, metadata=lambda m: {k: v for k, v in m.items() if k != "facts"}),
    "other facts": lambda p: rewritten(p, metadata=lambda m: m | {"facts": "[]"}),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_checkpoints(few, case):
    for _ in range(5):
        with pytest.raises(OutOfTime):
            made(RANKED, few, deadline=-1.0)
    path = few.checkpoint(RANKED)
    DAMAGE[case](path)
    content = path.read_bytes() if path.is_file() else None
    with refused(path.name, "delete"):
        made(RANKED, few)
    assert content is None or path.read_bytes() == content


def test_the_sentence_says_what_differs(few):
    with pytest.raises(OutOfTime):
        made(RANKED, few, deadline=-1.0)
    whole = few.checkpoint(RANKED).read_bytes()
    other = dataclasses.replace(RANKED, seed=3)
    write_whole(few.checkpoint(other), whole)
    with refused(f"run {RANKED.id} instead of {other.id}"):
        made(other, few)
    rewritten(few.checkpoint(RANKED), metadata=lambda m: m | {"version": "7"})
    with refused("version 7 instead of 1"):
        made(RANKED, few)


def test_a_checkpoint_that_cannot_be_written(few, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dclib.files.os.fsync", full)
    with refused("No space left", "DCLIB_RESULTS"):
        made(RANKED, few, deadline=-1.0)
    assert not list(few.folder.glob("checkpoints/*"))


# ---------------------------------------------------------------- parts of public functions


def test_parts_of_a_ranking_are_the_ranking():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    clean = 255 * torch.rand(230, 3, 8, 8)
    distorted = clean + 60 * torch.randn(2, *clean.shape)
    labels = model(clean).argmax(1)
    whole = ranking.hits_after_swaps(model, ["0", "2"], clean, distorted, labels)
    parts = dict(ranking.swaps_in_parts(model, ["0", "2"], clean, distorted, labels))
    assert list(parts) == [(layer, level, start) for start in (0, 100, 200) for level in (0, 1) for layer in ("0", "2")]
    for (layer, level, start), bits in parts.items():
        assert np.array_equal(bits, whole[layer][:, level, start : start + 100])
    known = {("0", 1, 100), *((layer, level, 200) for layer in ("0", "2") for level in (0, 1))}
    rest = dict(ranking.swaps_in_parts(model, ["0", "2"], clean, distorted, labels, known=known))
    assert rest.keys() == parts.keys() - known and all(torch.equal(rest[place], parts[place]) for place in rest)
    assert not torch.is_inference_mode_enabled()


def test_large_images_come_in_small_parts():
    assert list(ranking.part_starts(torch.empty(1, 3, 227, 227), 50)) == [0, 20, 40]
    assert list(ranking.part_starts(torch.empty(1, 3, 32, 32), 50)) == [0]


def test_draws_one_by_one_are_all_draws():
    features, labels = torch.randn(3, 120, 5), torch.arange(120) % 3
    draws = [transfer.draw_split(labels, seed, 10, 5) for seed in range(3)]
    together = transfer.transfer_accuracy(features, labels, draws, trained_on="all levels", seed=4)
    for number, draw in enumerate(draws):
        alone = transfer.draw_accuracy(features, labels, draw, number, trained_on="all levels", seed=4)
        assert np.array_equal(alone.accuracy[0], together.accuracy[number]) and alone.costs == together.costs[number:][:1]
