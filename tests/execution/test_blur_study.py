"""The blur study's parts: deconvolution, segmentation, training on kernels, and what a record of a blurred network says."""

import dataclasses

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from skimage.restoration import wiener
from sklearn.metrics import jaccard_score
from support import BASE, data_of, images, refused, small_net
from torch.nn import functional as F

from dclib import kernels
from dclib.datasets import Dataset, Split
from dclib.distortions import filtered
from dclib.execution import blurring, makers
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs
from dclib.experiments import CONV, Run, neighbours, profile, queue, rows
from dclib.neighbours import STRENGTHS, deblur, fit_head, mean_iou, mosaics, under
from dclib.results import unpack_bits
from dclib.training import Schedule

CONDITIONS = ("sharp", "gaussian 0.75", "motion 1.5 20")
RUN = Run("blurred", "Under blurs", "d", "f" * 64, 10, 4, 0, layers=("conv1", "conv5"), conditions=CONDITIONS, base=BASE)


def photographs():
    whole = torch.from_numpy(astronaut().copy()).permute(2, 0, 1)[None].float()
    return torch.cat([whole[..., 40:104, 180:244], whole[..., 100:164, 100:164]])


# ---------------------------------------------------------------- deconvolution


@pytest.mark.parametrize("way", STRENGTHS)
@pytest.mark.parametrize("name", ["gaussian 1", "defocus 1", "motion 1.5 20", "shake 1.5 7"])
def test_a_blur_is_undone_with_its_kernel_alone(way, name):
    seen = photographs()
    blurred = filtered(seen, kernels.named(name))

    def error(found):
        return (found - seen)[..., 8:-8, 8:-8].square().mean().sqrt()

    restored = {strength: deblur(blurred, kernels.named(name), way, strength) for strength in STRENGTHS[way]}
    strength = min(restored, key=lambda s: error(restored[s]))
    found = restored[strength]
    assert found.shape == seen.shape and 0 <= found.min() and found.max() <= 255
    assert error(found) < 0.9 * error(blurred)
    if "shake" in name:  # the others are their own mirror images
        assert error(found) < error(deblur(blurred, kernels.named(name).flip(0, 1), way, strength))


def test_inside_it_is_scikit_images_wiener():
    kernel = kernels.named("shake 1.5 7")
    blurred = filtered(photographs(), kernel)
    reach = len(kernel) - 1
    share = filtered(torch.full((1, 1, 64, 64), 255.0), kernel) / 255
    padded = np.pad((blurred / share)[0, 1].numpy(), reach, mode="reflect").clip(0, 255)
    whole = wiener(padded / 255, kernel.numpy()[::-1, ::-1], 0.01, clip=False)
    expected = 255 * whole[reach:-reach, reach:-reach].clip(0, 1)
    np.testing.assert_allclose(deblur(blurred, kernel, "wiener", 0.01)[0, 1].numpy(), expected, atol=1e-3)


def test_bad_input():
    for words, call in {
        "way": lambda: deblur(images(), kernels.named("gaussian 1"), "magic", 1),
        "kernel": lambda: deblur(images(), kernels.named("gaussian 20"), "wiener", 1),
        "one shape": lambda: mean_iou(torch.zeros(2, 3, 3).long(), torch.zeros(2, 3, 4).long(), 2),
        "mosaics": lambda: mosaics(data_of(4), 0),
    }.items():
        with refused(words):
            call()


# ---------------------------------------------------------------- segmentation


def test_mosaics_are_patches_side_by_side():
    data = data_of(12)
    seen, classes = mosaics(data, 3, across=2, seed=5)
    rows = np.random.default_rng(5).integers(12, size=12)
    assert seen.shape == (3, 3, 64, 64) and classes.shape == (3, 64, 64)
    for number, (mosaic, down, right) in enumerate(np.ndindex(3, 2, 2)):
        here = np.s_[32 * down : 32 * down + 32, 32 * right : 32 * right + 32]
        assert torch.equal(seen[mosaic][(slice(None), *here)], data.images[rows[number]])
        assert (classes[mosaic][here] == data.labels[rows[number]]).all()


def test_mean_iou_is_scikit_learns():
    rng = torch.Generator().manual_seed(0)
    said, true = (torch.randint(0, 5, (3, 8, 8), generator=rng) for _ in range(2))
    expected = jaccard_score(true.flatten(), said.flatten(), average="macro")
    assert mean_iou(said, true, 7) == pytest.approx(expected)  # two classes are nowhere
    assert mean_iou(true, true, 7) == 1


def test_a_head_learns_where_colours_are():
    patches = torch.cat([torch.full((1, 3, 32, 32), grey, dtype=torch.uint8) for grey in (10, 120, 240)])
    seen, classes = mosaics(Split(patches, torch.arange(3)), 8)
    segmenter = fit_head(lambda x: F.avg_pool2d(torch.cat([x, (x - 128).abs()], 1), 4) / 255, seen.float(), classes, 3)
    found = segmenter(seen.float()).argmax(1)
    assert found.shape == classes.shape and mean_iou(found, classes, 3) > 0.9


# ---------------------------------------------------------------- runs


def inputs(network, data):
    return Inputs(Dataset("d", data, data, data, tuple("abcdefghij"), "cifar100", "f" * 64), network, {}, None)


def test_a_record_says_how_sure_the_network_is_and_how_far_it_is_moved(store):
    network, data = small_net(), data_of(40)
    with Parts(RUN, store.checkpoint(RUN)) as parts:
        outcome = blurring.make_blurred(RUN, inputs(network, data), torch.device("cpu"), parts)
    for number, name in enumerate(CONDITIONS):
        with torch.no_grad():
            said = network(under(name, data.images.float())).softmax(1).numpy()
        np.testing.assert_array_equal(unpack_bits(outcome["correct"])[number], said.argmax(1) == data.labels.numpy())
        five = (np.argsort(-said, 1)[:, :5] == data.labels.numpy()[:, None]).any(1)
        np.testing.assert_array_equal(unpack_bits(outcome["among_five"])[number], five)
        assert outcome["confidence"][number] == pytest.approx(said.max(1).mean(), abs=1e-5)
        assert outcome["entropy"][number] == pytest.approx(-(said * np.log(said)).sum(1).mean(), abs=1e-4)
    seen, moved = data.images.float(), []
    with torch.no_grad():
        for shown in (seen, under(CONDITIONS[1], seen), seen.roll(20, 0)):
            moved.append(torch.relu(network.bn1(network.conv1(network.normalize(shown)))))
    expected = (moved[1] - moved[0]).square().mean().sqrt() / (moved[2] - moved[0]).square().mean().sqrt()
    assert outcome["moved"]["conv1"][:2] == pytest.approx([0, expected.item()], rel=1e-4)


def test_images_are_made_as_large_as_the_run_asks_for():
    run = dataclasses.replace(RUN, side=16)
    (found,) = blurring._shown(run, data_of(5), "gaussian 0.75", torch.device("cpu"))
    assert found[0].shape == (5, 3, 16, 16) and torch.equal(found[0], found[0].round()) and len(found[1]) == 5


def test_restored_images_are_tried_with_the_strength_that_was_chosen(store):
    network, data = small_net(), data_of(20)
    run = dataclasses.replace(RUN, kind="deblurred", layers=(), conditions=CONDITIONS[1:])
    with Parts(run, store.checkpoint(run)) as parts:
        outcome = blurring.make_deblurred(run, inputs(network, data), torch.device("cpu"), parts)
    assert set(outcome["correct"]) == {"blurred", "wiener", "richardson-lucy"}
    for way, bits in outcome["correct"].items():
        found = under("motion 1.5 20", data.images.float())
        if way != "blurred":
            found = deblur(found, kernels.named("motion 1.5 20"), way, outcome["strengths"][way])
            assert max(outcome["tried"][way]) == pytest.approx(unpack_bits(bits).mean(), abs=1e-5)  # the same images here
        with torch.no_grad():
            np.testing.assert_array_equal(unpack_bits(bits)[1], (network(found).argmax(1) == data.labels).numpy())
    assert set(parts.facts["seconds_per_image"]) == {"network", "wiener", "richardson-lucy"}


def test_half_of_a_trainings_images_are_blurred_by_its_kernels(store, monkeypatch):
    seen = []
    monkeypatch.setattr(makers, "train", lambda *args, distortion, sigmas, **more: seen.append((distortion, sigmas)))
    run = Run(
        "train",
        "Tuned",
        "d",
        "f" * 64,
        10,
        4,
        0,
        conditions=CONDITIONS[1:],
        schedule=Schedule(2, 4, 0.1, (), 1, augmentation="none"),
    )
    with pytest.raises(AttributeError), Parts(run, store.checkpoint(run)) as parts:  # nothing is trained
        makers.train_network(run, inputs(small_net(), data_of(8)), torch.device("cpu"), parts)
    ((distort, levels),) = seen
    shown = images(2)
    assert levels == (1.0, 2.0) and torch.equal(distort(shown, 2.0), under("motion 1.5 20", shown))


def test_its_runs():
    small = profile("small")
    found = rows("blur_tuning", small)
    assert list(found) == ["not tuned", "sharp", "Gaussian", "defocus", "motion", "shake", "mix"]
    trained = [run.base for (run,) in found.values() if run.base.base]
    assert len({run.schedule for run in trained}) == 1 and all(run.layers == CONV for run in trained)
    assert len(trained[-1].conditions) == 32 and trained[0].conditions == ()
    taught, asked = set(trained[-1].conditions), set(neighbours.TEST_BLURS)
    assert not {name for name in taught & asked if name.startswith(("motion", "shake"))}
    assert all(kernels.named(name) is not None for name in taught | asked)
    assert [run.side for (run,) in rows("blur_published", small).values()] == [128, 256]
    assert len(queue(("blur_tuning",), small)) == 1 + 6 + 7
    assert rows("blur_published", profile("paper")) == rows("blur_deconvolution", profile("smoke")) == {}
