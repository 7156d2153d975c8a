"""The evaluation against a loop over distorted copies, and its noise and blur against the public ones."""

import pytest
import torch
from support import data_of, refused, small_net

from dclib.datasets import Split
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
from dclib.evaluation import all_levels, distorted_copies, hits_on, hits_per_level


@pytest.mark.parametrize("distortion, sigmas", [(None, ()), ("blur", (0.5, 2.0)), ("awgn", (5.0, 30.0))])
def test_correct_predictions_equal_a_loop(distortion, sigmas):
    model, data = small_net().train(), data_of(530)
    found = hits_per_level(model, data, distortion, sigmas, batch_size=250)
    assert model.training and found.dtype == torch.bool and found.shape == (1 + len(sigmas), 530)
    model.eval()
    levels = [data.images.float()]
    if distortion == "blur":
        levels += [torch.cat([gaussian_blur(image[None], s) for image in data.images.float()]) for s in sigmas]
    if distortion == "awgn":
        levels += list(distorted_copies(data, "awgn", sigmas))
    with torch.inference_mode():
        expected = torch.stack([model(level).argmax(1) == data.labels for level in levels])
    assert (found != expected).double().mean() < 0.005  # a near tie may fall either way
    assert 0.02 < found.double().mean() < 0.5


def test_the_batch_size_changes_neither_noise_nor_predictions():
    model, data = small_net(), data_of(1010)
    found = [hits_per_level(model, data, "awgn", (5.0, 30.0), batch_size=size) for size in (250, 500, 1000)]
    assert all((f != found[0]).double().mean() < 0.005 for f in found)
    with refused("batch_size", "250"):
        hits_per_level(model, data, "awgn", (5.0,), batch_size=100)


def test_noise_of_the_evaluation_is_normal_paired_and_by_seed():
    data = data_of(600)
    first, again, other = (distorted_copies(data, "awgn", (5.0, 30.0), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    noise = first - data.images.float()
    for level, sigma in enumerate((5.0, 30.0)):
        assert noise[level].std().item() == pytest.approx(sigma, rel=0.01) and abs(noise[level].mean()) < 0.05
    assert abs((noise[0] / 5 * noise[1] / 30).mean()) < 0.01  # each level has its own
    assert abs((noise[0, :250] * noise[0, 250:500]).mean() / 25) < 0.01  # and each chunk
    assert torch.equal(distorted_copies(data.take(torch.arange(300)), "awgn", (30.0,))[0], first[1, :300])


@pytest.mark.parametrize("distortion, sigmas", [("blur", (0.5, 2.0)), ("awgn", (5.0, 30.0))])
def test_copies_of_a_part_are_a_part_of_the_copies(distortion, sigmas):
    data = data_of(620)
    parts = [
        distorted_copies(data.take(torch.arange(first, min(first + 250, 620))), distortion, sigmas, first=first)
        for first in (0, 250, 500)
    ]
    assert torch.equal(torch.cat(parts, dim=1), distorted_copies(data, distortion, sigmas))
    with refused("first", "250", "got 100"):
        distorted_copies(data, distortion, sigmas, first=100)


def test_blur_of_the_evaluation_is_gaussian_blur():
    data = data_of(5)
    for level, sigma in zip(distorted_copies(data, "blur", (0.5, 3.0)), (0.5, 3.0)):
        assert torch.allclose(level, gaussian_blur(data.images.float(), sigma), atol=1e-3)


def test_looks_agree_with_the_evaluation():
    model, data = small_net(), data_of(300)
    for distortion, sigmas in ((None, ()), ("blur", (1.0,)), ("awgn", (9.0, 20.0))):
        levels = all_levels(data, distortion, sigmas)
        assert levels.shape[:2] == (1 + len(sigmas), 300) and torch.equal(levels[0], data.images.float())
        found = hits_on(model, levels, data.labels, batch_size=110)
        assert (found != hits_per_level(model, data, distortion, sigmas)).double().mean() < 0.005


def test_unknown_distortion_in_the_evaluation():
    with refused("'fog'"):
        hits_per_level(small_net(), data_of(4), "fog", (1.0,))


def test_noise_in_training_and_evaluation_is_the_public_noise():
    images = torch.full((64, 3, 32, 32), 100.0)
    public = additive_white_gaussian_noise(images, 20.0) - images
    evaluated = distorted_copies(Split(images.byte(), torch.zeros(64).long()), "awgn", (20.0,))[0] - images
    assert public.std().item() == pytest.approx(evaluated.std().item(), rel=0.02)


# ---------------------------------------------------------------- bad input, and other defaults of torch

BAD = {
    "one logit": (lambda y: y[:, :1], torch.arange(4), "logits"),
    "a map": (lambda y: y[..., None], torch.arange(4), "logits"),
    "no tensor": (lambda y: [y], torch.arange(4), "logits"),
    "other classes": (lambda y: y[:, :3], torch.arange(4), "0 to 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_outputs_and_labels_that_do_not_fit(case):
    change, labels, word = BAD[case]
    network = small_net()
    network.register_forward_hook(lambda module, inputs, output: change(output))
    data = data_of(4)
    with refused(word):
        hits_per_level(network, Split(data.images, labels), None)
    with refused(word):
        hits_on(network, data.images.float()[None], labels)


@pytest.mark.parametrize(
    "labels", [torch.zeros(1).long(), torch.zeros(4), torch.eye(4).long(), torch.tensor([0, 1, 2, -1]), [0] * 4]
)
def test_labels_that_are_none(labels):
    with refused("labels"):
        hits_on(small_net(), data_of(4).images.float()[None], labels)


def test_no_images():
    with refused("at least one"):
        hits_per_level(small_net(), data_of(4).take(torch.arange(0)), None)
    for shape in ((0, 4, 3, 8, 8), (1, 0, 3, 8, 8), (4, 3, 8, 8)):
        with refused("levels"):
            hits_on(small_net(), torch.rand(shape), torch.arange(4)[: shape[1]])


def test_noise_does_not_depend_on_the_default_precision():
    data = data_of(6)
    expected = distorted_copies(data, "awgn", (5.0,), seed=3), hits_per_level(small_net(), data, "awgn", (30.0,))
    network = small_net().double()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(distorted_copies(data, "awgn", (5.0,), seed=3), expected[0])
        assert torch.equal(all_levels(data, "awgn", (5.0,), seed=3)[1], expected[0][0])
        assert torch.equal(hits_per_level(network, data, "awgn", (30.0,)), expected[1])
    finally:
        torch.set_default_dtype(torch.float32)


def test_noise_does_not_depend_on_the_default_device():
    data = data_of(6)
    expected = distorted_copies(data, "awgn", (5.0,), seed=3)
    with torch.device("meta"):
        assert torch.equal(distorted_copies(data, "awgn", (5.0,), seed=3), expected)
        assert distorted_copies(data, "blur", (1.7,)).device.type == "cpu"


def test_large_layers_run_in_parts_with_the_same_result(monkeypatch):
    from dclib.models import running

    model, data, sizes = small_net(), data_of(60), []
    expected = hits_per_level(model, data, "blur", (1.0,))
    monkeypatch.setattr(running, "_SMALL", 0)
    monkeypatch.setattr(running, "_BYTES", 7 * 4 * 4 * 4 * 32 * 32)  # seven images of the largest layer
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    assert torch.equal(hits_per_level(model, data, "blur", (1.0,)), expected) and max(sizes) == 7
