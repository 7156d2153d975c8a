"""Filters chosen by greedy joint swaps, against the naive loop; their runs, table and figure."""

import dataclasses

import numpy as np
import pytest
import torch
from joint_records import RUN, record
from naive_swaps import accuracy_after_swap, labelled, pairs
from support import DEEP, data_of, record_of, refused, settled
from swap_networks import CLASSES
from torch import nn

from dclib.datasets import Dataset
from dclib.evaluation import distorted_copies
from dclib.execution import filters_of, joint, obtaining
from dclib.experiments import FRACTIONS, Selection, joint_selection, profile, queue
from dclib.figures import swap_orders
from dclib.models import AllConvNet
from dclib.ranking import correction_priority, joint_swap_accuracy, select_jointly, select_local, swap_accuracy
from dclib.results import Record, unpack_bits
from dclib.tables import NOT_RUN
from dclib.tables import joint as shown
from dclib.tables.drawn import panels
from dclib.tables.shown import frame
from dclib.training import OutOfTime
from dclib.verdicts.joint import orders


def naive_selection(model, layer, count, clean, distorted, labels):
    """The loop as it is told: every trial is a full forward pass with all filters of it swapped."""
    filters, chosen, accuracies = model.get_submodule(layer).out_channels, [], []
    for _ in range(count):
        found = np.array(
            [
                [accuracy_after_swap(model, layer, [*chosen, f], clean, level, labels) for level in distorted]
                for f in range(filters)
            ]
        )
        accuracies.append(found)
        chosen.append(max((f for f in range(filters) if f not in chosen), key=lambda f: found[f].mean()))
    return chosen, accuracies


def normalised():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.LocalResponseNorm(3, alpha=1.0),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(5 * 49, CLASSES),
    )


def network(kind):
    torch.manual_seed(2)
    whole = AllConvNet(CLASSES, 4) if kind == "AllConvNet" else normalised()
    return settled(whole).double(), 32 if kind == "AllConvNet" else 16


@pytest.mark.parametrize(
    "kind, layer",
    [("AllConvNet", "conv1"), ("AllConvNet", "conv5"), ("AllConvNet", "conv9"), ("with LRN", "0"), ("with LRN", "3")],
)
@pytest.mark.parametrize("few", [None, 7])
def test_the_naive_loop_chooses_the_same(kind, layer, few, monkeypatch):
    model, size = network(kind)
    clean, distorted = pairs(20, size, 1.0)
    labels = labelled(model, clean)
    count = min(6, model.get_submodule(layer).out_channels)
    if few:
        monkeypatch.setattr("dclib.ranking.swap_network._IMAGES", few)
    with torch.inference_mode():
        chosen, accuracies = naive_selection(model, layer, count, clean, distorted, labels)
    steps = list(select_jointly(model, layer, clean, distorted, labels, count=count, batch_size=few))
    assert [step.chosen for step in steps] == chosen and sorted(set(chosen)) == sorted(chosen)
    for step, expected in zip(steps, accuracies, strict=True):
        np.testing.assert_allclose(step.accuracy, expected, atol=1e-12)
    np.testing.assert_allclose(steps[0].accuracy, swap_accuracy(model, [layer], clean, distorted, labels)[layer], atol=1e-12)


def test_a_selection_goes_on_where_it_stood():
    model, size = network("AllConvNet")
    clean, distorted = pairs(12, size, 1.0)
    labels = labelled(model, clean)
    whole = [step.chosen for step in select_jointly(model, "conv2", clean, distorted, labels)]
    assert sorted(whole) == list(range(4))
    later = list(select_jointly(model, "conv2", clean, distorted, labels, begun=whole[:2]))
    assert [step.chosen for step in later] == whole[2:]
    assert list(select_jointly(model, "conv2", clean, distorted, labels, begun=whole)) == []


def test_equal_filters_help_equally_and_the_first_is_taken():
    model, size = network("AllConvNet")
    with torch.no_grad():
        for name in ("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
            values = dict(model.named_parameters()) | dict(model.named_buffers())
            values[name][1] = values[name][0]
        model.conv2.weight[:, 1] = model.conv2.weight[:, 0]
    clean, distorted = pairs(40, size, 1.0)
    labels = labelled(model, clean)
    first = next(select_jointly(model, "conv1", clean, distorted, labels))
    np.testing.assert_array_equal(first.accuracy[0], first.accuracy[1])
    assert first.chosen != 1


def test_bad_input():
    model, size = network("AllConvNet")
    clean, distorted = pairs(4, size, 1.0)
    labels = labelled(model, clean)

    def choose(*, layer="conv1", labels=labels, **options):
        return lambda: next(select_jointly(model, layer, clean, distorted, labels, **options))

    for words, call in {
        "at most 4 filters": choose(count=5),
        "each once": choose(begun=[1, 1]),
        "0..3": choose(begun=[4]),
        "conv99": choose(layer="conv99"),
        "labels": choose(labels=labels[:2]),
    }.items():
        with refused(words):
            call()


# ---------------------------------------------------------------- the run and its record


@pytest.fixture
def few(monkeypatch):
    """Filters are chosen on 30 images, and tried on 40 others."""
    model, data = settled(AllConvNet(10, 8)), data_of(40)
    splits = {
        name: dataclasses.replace(data_of(count, seed), labels=labelled(model, data_of(count, seed).images.float()))
        for name, count, seed in (("train", 30, 1), ("validation", 40, 2))
    }
    whole = Dataset("d", splits["train"], splits["validation"], data, tuple("abcdefghij"), "cifar100", "f" * 64)
    monkeypatch.setattr("dclib.execution.inputs.data_for", lambda run: whole)
    monkeypatch.setattr("dclib.execution.inputs.network", lambda run, store: model)
    monkeypatch.setattr(joint, "ranking_images", lambda run, data: data.train)
    return model, whole


def made(store, deadline=None):
    return obtaining.make(RUN, store, "cpu", deadline)[0]


def test_a_record_has_both_orders_and_what_they_give_on_other_images(few, store):
    model, data = few
    outcome = made(store)
    levels = {
        name: distorted_copies(split, "blur", RUN.sigmas)
        for name, split in (("train", data.train), ("validation", data.validation))
    }
    train, other = data.train, data.validation
    steps = list(select_jointly(model, "conv2", train.images.float(), levels["train"], train.labels))
    assert outcome["order"]["conv2"] == [step.chosen for step in steps] and outcome["images"] == 30
    single = swap_accuracy(model, ["conv2"], train.images.float(), levels["train"], train.labels)["conv2"]
    np.testing.assert_allclose(outcome["swap_accuracy"]["conv2"], single, atol=1e-6)
    np.testing.assert_allclose(outcome["joint_accuracy"]["conv2"], [s.accuracy[s.chosen] for s in steps], atol=1e-6)
    ranked = select_local({"conv2": correction_priority(single, np.array(outcome["distorted_accuracy"]))}, 1.0)["conv2"]
    held_out, counts = outcome["held_out"], [round(f * 8) for f in FRACTIONS]
    assert held_out["images"] == 40 and held_out["counts"] == counts
    for name, order in (("joint", outcome["order"]["conv2"]), ("single", ranked.tolist())):
        expected = joint_swap_accuracy(
            model, {"conv2": [order[:n] for n in counts]}, other.images.float(), levels["validation"], other.labels
        )["conv2"]
        np.testing.assert_allclose(held_out["accuracy"][name], expected, atol=1e-6)
        np.testing.assert_allclose(unpack_bits(held_out["correct_after"][name]).mean(-1), expected, atol=1e-6)


def test_a_stopped_run_goes_on_to_the_same_record(few, store, tmp_path):
    whole, stops = made(type(store)(tmp_path / "other")), 0
    while True:
        try:
            found = made(store, deadline=0.0)
        except OutOfTime:
            stops += 1
        else:
            break
    assert found == whole and stops > 10


def test_deepcorrect_takes_the_filters_of_either_order(store):
    gains = np.array([[0.5, 0.5], [0.9, 0.9], [0.8, 0.8], [0.1, 0.1], [0.3, 0.3], [0.2, 0.2], [0.4, 0.4], [0.6, 0.6]])
    outcome = {
        "order": {"conv2": [1, 6, 0, 2, 3, 4, 5, 7]},
        "swap_accuracy": {"conv2": gains.tolist()},
        "distorted_accuracy": [0.1, 0.1],
    }
    store.put(Record(RUN.description, outcome, {}, {}))
    for order, expected in (("joint", [1, 6, 0]), ("ranked", [1, 2, 7])):
        selection = Selection(order, "local", "priority", (("conv2", 3),))
        assert filters_of(dataclasses.replace(DEEP, selection=selection, ranking=RUN), store) == {"conv2": expected}


# ---------------------------------------------------------------- what becomes of the jump


@pytest.mark.parametrize(
    "single, jointly, words",
    [
        ((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.3, 0.6, 0.65, 0.7), "a jump that likeness explains"),
        ((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.2, 0.3, 0.6, 0.7), "a jump that likeness does not explain"),
        ((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.2, 0.45, 0.6, 0.7), "a jump, its cause not shown"),
        ((0.1, 0.3, 0.5, 0.6, 0.7), (0.1, 0.3, 0.6, 0.6, 0.7), "no jump"),
        ((0.1, 0.3, 0.5, 0.7, 0.7), (0.1, 0.3, 0.6, 0.6, 0.7), "no jump shown"),
    ],
)
def test_the_jump_gets_its_explanation_or_loses_it(single, jointly, words):
    found = orders(record(single, jointly))
    assert found.explanation == words
    rises = np.diff(np.array(single))
    assert found.jump.value == pytest.approx(rises[2] - rises[1])
    assert [lead.value for lead in found.lead] == pytest.approx(np.subtract(jointly, single).tolist())
    assert found.shared == (0, 1, 2, 4, 6)  # of 0..counts-1, in the order 7 0 6 1 5 2 4 3
    assert found.filters == 8 and found.tried_on == 400 and found.images == 38


def test_the_study_is_shown(store, tmp_path):
    p = profile("smoke")
    assert (frame("joint", "smoke", store).iloc[:, 0] == NOT_RUN).all() and shown.layers_recorded("smoke", store) == {}
    with refused("figure4_joint", "dclib run joint --profile smoke"):
        panels("figure4_joint", "smoke", store)
    for distortion in ("blur", "awgn"):
        store.put(record((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.3, 0.6, 0.65, 0.7), joint_selection(p, "conv1", distortion)))
    table = frame("joint", "smoke", store)
    assert table.loc[("conv1 blur", "here, smoke"), "from 50 to 75 %"] == "a jump that likeness explains"
    assert table.loc[("conv1 awgn", "here, smoke"), "shared at 50%"] == "2 of 4"
    assert table.loc[("conv1 awgn", "here, smoke"), "lead at 50%"].startswith("+0.300 [+0.2")
    blur, noise = panels("figure4_joint", "smoke", store)
    assert "50% 0.300 and 0.600" in blur.alt_text and "noise" in noise.alt_text and "Without a swap 0.100" in blur.alt_text
    words = shown.words(record((0.1, 0.2, 0.3, 0.6, 0.7), (0.1, 0.3, 0.6, 0.65, 0.7)))
    assert "both choices have 2; two random halves would share 2" in words and "explains." in words


def test_trained_networks_are_compared_on_the_same_images(store):
    runs = {run.method: run for run in queue(("joint",), profile("smoke"), (0,)) if run.distortion == "blur"}
    for number, name in enumerate(("Deepcorr-1 joint", "Deepcorr-1 ranked")):
        store.put(record_of(runs[name], seed=number))
    found = shown.recorded("smoke", store)
    (said,) = shown.trained_words(found)
    means = [found[f"Deepcorr-1 {order} blur"].accuracy.mean() for order in ("joint", "ranked")]
    assert f"{means[0]:.4f}" in said and f"{means[1]:.4f}" in said and f"{means[0] - means[1]:+.3f} [" in said
    assert frame("joint", "smoke", store).loc[("Deepcorr-1 joint blur", "here, smoke"), "accuracy"] == f"{means[0]:.4f}"


def test_runs_of_the_study_are_made_after_what_they_need():
    runs = queue(("joint",), profile("small"), (0,))
    assert [run.kind for run in runs].count("select") == 12 and len(runs) == 17
    places = {run.id: number for number, run in enumerate(runs)}
    assert all(places[needed.id] < places[run.id] for run in runs for needed in run.needs)
    assert {run.layers for run in runs[1:3]} == {("conv1",)} and runs[1].ranking_images == 2


def test_figure_says_what_it_draws():
    drawn = swap_orders([0.2, 0.4], [0.1, 0.3], (0.25, 0.5), "blur", "the paper", clean=0.8)
    assert "25% 0.100 and 0.200; 50% 0.300 and 0.400" in drawn.alt_text and len(drawn.axes[0].lines) == 3
