"""The gate as a run, on a small network that errs under noise."""

import dataclasses

import numpy as np
import pytest
import torch
from support import small_net

from dclib.datasets import Dataset, Split
from dclib.execution import gate
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs
from dclib.execution.progress import line_about
from dclib.experiments import Run, neighbours, profile, rows
from dclib.neighbours import under
from dclib.results import Record, unpack_bits, unpack_filters
from dclib.training import OutOfTime, Schedule

CONDITIONS = ("sharp", "noise 60", "gaussian 2", "fgsm 8")
RUN = Run(
    "gate",
    "Gate",
    "d",
    "f" * 64,
    10,
    4,
    0,
    conditions=CONDITIONS,
    learned_from=CONDITIONS[:2],
    fractions=(0.5, 0.25),
    schedule=Schedule(5, 8, 0.003, (), 5, augmentation="none"),
)


@pytest.fixture
def inputs():
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(torch.rand(80, 3, 4, 4, generator=rng), 32, mode="bicubic")
    images = (images * 255).round().clamp(0, 255).byte()
    network = small_net()
    with torch.no_grad():
        order = network(images.float()).argsort(1, descending=True)
    labels = order[torch.arange(80), torch.arange(80) % 10]  # for half of them among the first five
    order = labels.argsort(stable=True)
    test = Split(images[order], labels[order])
    return Inputs(Dataset("d", test, test, test, tuple("abcdefghij"), "imagenet", "f" * 64), network, {}, None)


def made(inputs, store, deadline=None):
    with Parts(RUN, store.checkpoint(RUN), deadline=deadline) as parts:
        return gate.make_gate(RUN, inputs, torch.device("cpu"), parts), parts


def test_images_are_shared_out_within_each_class():
    labels = torch.tensor([3] * 50 + [7] * 50)
    split = Split(torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(100, 3, 4, 4), labels)
    found = gate.thirds(split, neighbours.SHARES)
    assert [len(part) for part in found] == [40, 30, 30]
    assert sorted(torch.cat([part.images[:, 0, 0, 0] for part in found]).tolist()) == list(range(100))
    assert all(set(part.labels.bincount()[[3, 7]].tolist()) == {len(part) // 2} for part in found)


def test_a_record_says_where_the_network_errs(inputs, store):
    outcome, parts = made(inputs, store)
    *_, test = gate.thirds(inputs.data.test, RUN.fractions)
    wrong, egregious = (unpack_bits(outcome[key]) for key in ("wrong", "egregious"))
    assert wrong.shape == egregious.shape == (4, len(test)) and outcome["images"] == len(test)
    seen = under("gaussian 2", test.images.float())
    with torch.no_grad():
        order = inputs.network(seen).argsort(1, descending=True)
    place = (order == test.labels[:, None]).int().argmax(1).numpy()
    np.testing.assert_array_equal(egregious[2], place >= 5)
    np.testing.assert_array_equal(wrong[2], place >= 1)
    with torch.no_grad():
        said = inputs.network(seen).softmax(1).amax(1).numpy()
    scores = {name: unpack_filters(packed) for name, packed in outcome["scores"].items()}
    np.testing.assert_allclose(scores["confidence"][2], 1 - said, atol=1e-3)
    assert set(scores) == set(outcome["calibration"]) == {"quality", "student", "both", "confidence"}
    assert set(parts.facts["seconds_per_image"]) == {"network", "student", "quality"}
    sharp = {name: unpack_filters(packed).astype(float) for name, packed in outcome["calibration"].items()}
    expected = sum((scores[name][1] - sharp[name].mean()) / sharp[name].std() for name in ("quality", "student"))
    np.testing.assert_allclose(scores["both"][1], expected, atol=0.02)


def test_a_stopped_gate_goes_on_to_the_same_record(inputs, store, tmp_path):
    whole, stops = made(inputs, type(store)(tmp_path / "other"))[0], 0
    while True:
        try:
            outcome, _ = made(inputs, store, deadline=0)
            break
        except OutOfTime:
            stops += 1
    assert stops == 7 and outcome == whole


def test_its_run_is_of_profile_small_alone():
    ((run,),) = rows("gate", profile("small")).values()
    assert set(run.learned_from) < set(run.conditions) and sum(run.fractions) < 1
    assert rows("gate", profile("paper")) == rows("gate", profile("miniature")) == {}
    assert dataclasses.replace(run, conditions=()).id != run.id


def test_a_log_has_a_line_about_every_neighbouring_run(store):
    """Whose outcomes have neither an accuracy per level nor one on clean images."""
    record = Record(RUN.description, {"images": 300}, {"seconds": 5.0}, {})
    assert line_about(RUN, record) == f"Gate (d, width 4, seed 0): 300 images, 5 s, record {RUN.id}"
