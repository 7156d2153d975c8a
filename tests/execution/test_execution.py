"""How runs are made: filters are ranked on a part of the images at a time, and several processes agree on what to make."""

import dataclasses
import os
import weakref

import numpy as np
import pytest
import torch
from support import RANKING, data_of, free_port, record_of, two_convolutions, worker_context

from dclib import ranking
from dclib.datasets import Dataset
from dclib.evaluation import distorted_copies
from dclib.execution import inputs, obtain, obtaining, swaps
from dclib.experiments import Run, Selection
from dclib.results import Store, unpack_bits
from dclib.training import Schedule, distributed

# ---------------------------------------------------------------- rankings, a part of the images at a time

LEVELS = {"blur": (0.5, 2.0), "awgn": (5.0, 30.0)}


@pytest.fixture
def few(monkeypatch):
    """1,040 images, all of which are ranked on, and a network that finds all classes in them."""
    split = data_of(1040)
    model = two_convolutions()
    model(split.images.float())  # for the statistics
    model.eval()
    data = Dataset("d", split, split, split, tuple("abcdefghij"), "cifar100", "f" * 64)
    monkeypatch.setattr(inputs, "data_for", lambda run: data)
    monkeypatch.setattr(inputs, "network", lambda run, store: model)
    monkeypatch.setattr(swaps, "ranking_images", lambda run, data: data.train)
    return model, split


def ranked(distortion):
    return dataclasses.replace(RANKING, distortion=distortion, sigmas=LEVELS[distortion], layers=("0", "2"))


@pytest.mark.parametrize("distortion", LEVELS)
def test_a_ranking_in_parts_is_the_ranking_of_all_images_at_once(few, distortion, store):
    model, split = few
    clean, distorted = split.images.float(), distorted_copies(split, distortion, LEVELS[distortion])
    expected = ranking.swap_accuracy(model, ["0", "2"], clean, distorted, split.labels)
    before = ranking.accuracy_per_level(model, torch.cat([clean[None], distorted]), split.labels)
    outcome, _ = obtaining.make(ranked(distortion), store)
    assert outcome["swap_accuracy"] == {layer: values.round(6).tolist() for layer, values in expected.items()}
    assert outcome["clean_accuracy"] == before[0] and outcome["images"] == len(split)
    assert outcome["distorted_accuracy"] == before[1:].round(6).tolist()
    assert len(np.unique(expected["0"])) > 4  # swaps matter


def test_a_ranking_tells_of_each_image_what_each_swap_changed(few, store):
    model, split = few
    outcome, _ = obtaining.make(ranked("awgn"), store)
    clean, distorted = split.images.float(), distorted_copies(split, "awgn", LEVELS["awgn"])
    after = ranking.hits_after_swaps(model, ["0", "2"], clean, distorted, split.labels)
    before = unpack_bits(outcome["correct_before"])
    with torch.inference_mode():
        expected = [model(level).argmax(1) == split.labels for level in (clean, *distorted)]
    assert (
        np.array_equal(before, torch.stack(expected))
        and before.mean(1)[1:].round(6).tolist() == (outcome["distorted_accuracy"])
    )
    for layer, bits in after.items():
        changed = unpack_bits(outcome["changed"][layer])
        assert changed.shape == (len(bits), 2, len(split)) and changed.any()
        assert np.array_equal(changed ^ before[1:], bits)
        assert (changed ^ before[1:]).mean(2).round(6).tolist() == outcome["swap_accuracy"][layer]


def test_swaps_in_parts_are_the_swaps_of_all_images_at_once(few, store, monkeypatch):
    model, split = few
    run = Run(
        "swap",
        "Figures 4 and 5",
        "d",
        "f" * 64,
        2,
        2,
        0,
        "awgn",
        LEVELS["awgn"],
        layers=("0",),
        fractions=(0.5, 1.0),
        selection=Selection("ranked", "local", "priority", ()),
        base=RANKING.base,
        ranking=ranked("awgn"),
    )
    monkeypatch.setattr(inputs, "ranking_of", lambda run, store: "a ranking")
    monkeypatch.setattr(swaps, "priorities_of", lambda record, score, layers: {"0": np.arange(6)})
    expected = ranking.joint_swap_accuracy(
        model,
        {"0": [[5, 4, 3], [5, 4, 3, 2, 1, 0]]},
        split.images.float(),
        distorted_copies(split, "awgn", LEVELS["awgn"]),
        split.labels,
    )
    outcome, _ = obtaining.make(run, store)
    assert outcome["accuracy"] == {"0": expected["0"].round(6).tolist()} and len(np.unique(expected["0"])) > 1
    right = unpack_bits(outcome["correct_after"]["0"])
    assert right.shape == (2, 2, len(split)) and np.array_equal(right.mean(2), expected["0"])
    assert unpack_bits(outcome["correct_before"]).mean(1).round(6).tolist() == [
        round(outcome["clean_accuracy"], 6),
        *outcome["distorted_accuracy"],
    ]


def test_only_one_part_of_the_images_is_distorted_at_a_time(few, store, monkeypatch):
    real, made = swaps.pairs, []

    def watched(*arguments):
        assert all(copies() is None for copies, _ in made)  # the last part's are gone
        clean, distorted = real(*arguments)
        made.append((weakref.ref(distorted), len(clean)))
        return clean, distorted

    monkeypatch.setattr(swaps, "pairs", watched)
    obtaining.make(ranked("blur"), store)
    assert [count for _, count in made] == [500, 500, 40]


# ---------------------------------------------------------------- several processes

TRAINED = Run("train", "Baseline", "photographs", "f" * 64, 19, 2, 0, schedule=Schedule(2, 4, 0.1, (), 1))


def late_record(rank, port, folder):
    """A process of two, for which another sweep ends the very run just before process 0 has the lock."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    distributed.start("cpu")
    store, claim = Store(folder), obtaining.claim

    def claim_late(run, store):
        store.put(record_of(TRAINED))
        store.put_weights(TRAINED, b"there")
        return claim(run, store)

    obtaining.claim = claim_late
    obtaining.help_with = lambda *_: distributed.agreed("a training, in which process 0 has a share") and 1 / 0
    assert obtain(TRAINED, store) == record_of(TRAINED)
    distributed.stop()


def test_all_processes_see_a_record_that_came_at_the_last_moment(tmp_path):
    port = free_port()
    workers = [worker_context().Process(target=late_record, args=(rank, port, tmp_path)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    codes = [worker.exitcode for worker in workers]
    for worker in workers:
        worker.kill()
    assert codes == [0, 0]
