"""The training loop against plain loops: schedule, batches, gradients, choice of model."""

import copy
import json
import math

import cv2
import numpy as np
import pytest
import torch
from plain_training import recorded, train_by_hand
from support import data_of, refused, small_net
from torch import nn

from dclib.correction import UnitDesign, correct
from dclib.datasets import Split
from dclib.distortions import gaussian_blur
from dclib.models import trainable_copy
from dclib.training import TOLERANCE, Batches, Schedule, augment, loop, train

PLAIN = Schedule(6, 10, 0.05, (4,), 3, augmentation="none")


def schedule(**changes):
    return Schedule(**({f: getattr(PLAIN, f) for f in PLAIN.__dataclass_fields__} | changes))


# ---------------------------------------------------------------- schedule


def test_learning_rate_falls_at_its_drops():
    s = schedule(iterations=100, learning_rate=0.1, drops=(30, 60))
    assert [s.rate(i) for i in (0, 29, 30, 59, 60, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_warm_up_and_decay():
    s = schedule(iterations=100, learning_rate=0.1, drops=(30,), warm_up=5, warm_up_rate=0.01, decay=1e-2)
    for i in range(100):
        base = 0.01 if i < 5 else 0.1 if i < 30 else 0.01
        assert s.rate(i) == pytest.approx(base / (1 + 0.01 * i))


def test_one_cycle_rises_and_falls_to_zero():
    s = schedule(iterations=120, learning_rate=0.3, drops=(), warm_up=20, shape="one-cycle")
    rates = np.array([s.rate(i) for i in range(120)])
    assert rates.argmax() == 20 and rates.max() == pytest.approx(0.3) and rates.min() > 0
    np.testing.assert_allclose(np.diff(rates[:21]), 0.3 / 21)
    angles = np.arange(100) / 100 * np.pi
    np.testing.assert_allclose(rates[20:], 0.15 * (1 + np.cos(angles)))
    assert rates[-1] < 0.001 * rates.max()


@pytest.mark.parametrize(
    "changes", [{"shape": "triangle"}, {"shape": "one-cycle", "drops": (2,)}, {"warm_up": 7}, {"warm_up": -1}]
)
def test_schedules_that_cannot_be(changes):
    with refused("schedule" if "shape" not in changes or "drops" in changes else "shape"):
        schedule(**{"drops": ()} | changes)


# ---------------------------------------------------------------- mini-batches


@pytest.mark.parametrize("distortion", ["blur", "awgn"])
def test_images_are_cropped_before_they_are_distorted(distortion):
    data = Split(torch.randint(0, 256, (40, 3, 40, 48), dtype=torch.uint8), torch.arange(40) % 10)
    s = schedule(iterations=1, batch_size=40, crop=32, mixture="each by chance")
    batches = Batches(data, s, 3, distortion, (2.0,), torch.device("cpu"), blur_of_bytes=True)
    images, labels = batches.draw(0)
    order = batches._sample(0)
    cropped = data.images[order][..., 4:36, 8:40].numpy()
    same = [np.array_equal(image, before) for image, before in zip(images.numpy(), cropped)]
    assert images.shape == (40, 3, 32, 32) and 10 < sum(same) < 30
    if distortion == "blur":  # OpenCV's blur of bytes rounds; its kernel has 8 bits, ours is exact
        for image, before, kept in zip(images.numpy(), cropped, same):
            if not kept:
                planes = [cv2.GaussianBlur(plane, (9, 9), 2.0, None, 2.0, cv2.BORDER_CONSTANT) for plane in before]
                assert np.abs(image - np.stack(planes)).max() <= 1 and np.array_equal(image, np.rint(image))
    with refused("40x48", "64x64"):
        Batches(data, schedule(crop=64), 3, None, (), torch.device("cpu")).draw(0)


@pytest.mark.parametrize("height, width", [(64, 256), (96, 32), (50, 50)])
def test_rotations_keep_a_disc_round(height, width):
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2 + 0.5) ** 2 + (columns - width / 2 + 0.5) ** 2 < 12**2
    images = torch.from_numpy(disc).float().expand(60, 1, height, width)
    whole = 0
    for turned in augment(images, "rotate-shift-flip", torch.Generator().manual_seed(0))[:, 0].numpy():
        found = np.argwhere(turned > 0.5)
        if found.min() > 0 and found[:, 0].max() < height - 1 and found[:, 1].max() < width - 1:  # not shifted out
            whole += 1
            assert all(abs(length - 24) <= 2 for length in np.ptp(found, axis=0) + 1)
    assert whole > 10


class Seen(nn.Module):
    """Remembers the mini-batches that it is trained on."""

    def __init__(self, classes=10):
        super().__init__()
        self.linear = nn.Linear(3, classes)
        self.batches = []

    def forward(self, images):
        if self.training:
            self.batches.append(images.clone())
        return self.linear(images.mean((2, 3)) / 255)


def numbered(count, side=8, classes=10):
    """Images of one colour that tells their number."""
    number = torch.arange(count)
    colours = torch.stack([number % 200 + 20, number // 200 + 20, torch.full_like(number, 77)], 1).byte()
    return Split(colours.view(count, 3, 1, 1).repeat(1, 1, side, side), number % classes)


def seen_batches(s, data, **options):
    model = Seen()
    train(model, data, numbered(4), s, seed=options.pop("seed", 1), **options)
    return model.batches


def numbers_in(batch):
    return (batch[:, 0, 0, 0] - 20 + 200 * (batch[:, 1, 0, 0] - 20)).long().tolist()


@pytest.mark.parametrize("count, size", [(230, 50), (100, 50), (50, 50), (7, 5)])
def test_sampling_is_without_replacement(count, size):
    iterations = 4 * count // size
    batches = seen_batches(schedule(iterations=iterations, batch_size=size, evaluate_every=iterations), numbered(count))
    order = [number for batch in batches for number in numbers_in(batch)]
    assert all(len(batch) == size for batch in batches)
    passes = [order[i : i + count] for i in range(0, len(order) - count + 1, count)]
    assert len(passes) >= 3 and all(sorted(p) == list(range(count)) for p in passes)
    assert passes[0] != passes[1] != passes[2]


def test_the_seed_decides_the_batches():
    s = schedule(augmentation="pad-crop-flip")
    runs = [seen_batches(s, numbered(40), seed=seed, distortion="awgn", sigmas=(5.0, 9.0)) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1]))
    assert not any(torch.equal(a, b) for a, b in zip(runs[0], runs[2]))


@pytest.mark.parametrize("size", [10, 7])
def test_exactly_half_of_each_batch_is_blurred(size):
    sigmas = (0.5, 1.0, 2.0)
    iterations = 60
    batches = seen_batches(
        schedule(iterations=iterations, batch_size=size, evaluate_every=iterations),
        numbered(60),
        distortion="blur",
        sigmas=sigmas,
    )
    darkening = {sigma: gaussian_blur(torch.full((1, 1, 8, 8), 100.0), sigma)[0] / 100 for sigma in sigmas}
    levels = []
    for batch in batches:
        for i, image in enumerate(batch):
            blurred = not (image == image[:, :1, :1]).all()
            assert blurred == (i < size // 2)
            if blurred:  # one colour, darker towards the border
                fits = [sigma for sigma in sigmas if (image / darkening[sigma]).flatten(1).std(1).max() < 1e-3]
                assert len(fits) == 1
                levels += fits
    counts = [levels.count(sigma) for sigma in sigmas]
    assert sum(counts) == iterations * (size // 2) and min(counts) > 0.75 * sum(counts) / 3


def test_exactly_half_of_each_batch_is_noisy():
    sigmas = (4.0, 40.0)
    batches = seen_batches(
        schedule(iterations=50, batch_size=12, evaluate_every=50), numbered(60, side=32), distortion="awgn", sigmas=sigmas
    )
    spreads = torch.stack([(batch - batch.mean((2, 3), keepdim=True)).flatten(1).std(1) for batch in batches])
    assert not spreads[:, 6:].any()
    noisy = spreads[:, :6].flatten()
    strong = noisy > 20
    assert torch.allclose(noisy[strong], torch.tensor(40.0), rtol=0.1)
    assert torch.allclose(noisy[~strong], torch.tensor(4.0), rtol=0.1)
    assert 0.4 < strong.double().mean() < 0.6


def test_clean_training_sees_clean_images_only():
    for batch in seen_batches(PLAIN, numbered(40)):
        assert (batch == batch[:, :, :1, :1]).all()


# ---------------------------------------------------------------- steps


def check_equal(model, other):
    for (name, value), expected in zip(model.state_dict().items(), other.state_dict().values()):
        assert torch.allclose(value.double(), expected.double(), rtol=1e-3, atol=1e-5), name


def test_steps_equal_sgd_by_hand_with_l2():
    model, data = small_net(), data_of()
    by_hand = copy.deepcopy(model)
    s = schedule(
        iterations=4, evaluate_every=4, decay=0.1, learning_rate=0.02, drops=(2,), l2=(("conv1", 0.3), ("conv9", 0.02))
    )

    def penalty(m):
        return 0.3 * m.conv1.weight.square().sum() + 0.02 * m.conv9.weight.square().sum()

    train_by_hand(by_hand, recorded(model, data, s), s, penalty)
    check_equal(model, by_hand)


def test_steps_equal_sgd_by_hand_with_a_slower_layer():
    """A layer with a factor learns as one whose gradients are multiplied by it, momentum and all."""
    model, data = small_net(), data_of()
    by_hand = copy.deepcopy(model)
    for parameter in by_hand.conv2.parameters():
        parameter.register_hook(lambda gradient: 0.01 * gradient)
    s = schedule(iterations=4, evaluate_every=4, drops=(2,), factors=(("conv2", 0.01),))
    train_by_hand(by_hand, recorded(model, data, s), s)
    check_equal(model, by_hand)
    assert not torch.equal(model.conv2.weight, small_net().conv2.weight)


def test_steps_equal_sgd_by_hand_with_l1_on_the_units():
    data = data_of()
    model = correct(small_net(), {"conv1": [0, 2], "conv4": [1]}, UnitDesign(3, input_batchnorm=True), also_train=["conv9"])
    by_hand = copy.deepcopy(model)
    s = schedule(iterations=3, evaluate_every=3, learning_rate=0.02, l1=0.01, l2=(("conv9", 0.05), ("conv2", 5.0)))

    def penalty(m):
        units = [w for name, w in m.named_parameters() if ".unit." in name and w.ndim == 4]
        assert len(units) == 8
        return 0.01 * sum(w.abs().sum() for w in units) + 0.05 * m.conv9.weight.square().sum()

    train_by_hand(by_hand, recorded(model, data, s), s, penalty)
    check_equal(model, by_hand)


def test_l1_does_nothing_without_units():
    models = [trainable_copy(small_net(), ["conv1"]) for _ in range(2)]
    for model, l1 in zip(models, (0.0, 0.5)):
        train(model, data_of(), data_of(6, 1), schedule(l1=l1), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values()))


def test_only_what_requires_gradients_changes():
    model = trainable_copy(small_net(), ["conv2"])
    before = copy.deepcopy(model.state_dict())
    train(model, data_of(), data_of(6, 1), PLAIN, seed=1, distortion="blur", sigmas=(1.0,))
    changed = {k.rpartition(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"conv2", "bn2"} and not model.training


def test_curve_and_report():
    model, calls = small_net(), []
    s = schedule(iterations=25, evaluate_every=10)
    progress = train(
        model,
        data_of(),
        data_of(6, 1),
        s,
        seed=1,
        distortion="blur",
        sigmas=(1.0, 2.0),
        report=lambda i, loss: calls.append((i, loss)),
    )
    assert [c["iteration"] for c in progress.curve] == [10, 20, 25] and progress.iteration == 25
    assert all(len(c["validation"]) == 3 for c in progress.curve)
    assert [i for i, _ in calls] == [10, 20] and all(math.isfinite(loss) for _, loss in calls)
    assert json.loads(json.dumps(progress.curve)) == progress.curve


def test_the_curve_has_the_mean_loss_since_the_last_look():
    model, by_hand = small_net(), small_net()
    s = schedule(iterations=5, evaluate_every=2, learning_rate=0.02)
    curve = []
    losses = train_by_hand(by_hand, recorded(model, data_of(), s, into=curve), s)
    expected = [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]]
    assert [c["loss"] for c in curve] == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- which network is kept


@pytest.mark.parametrize(
    "accuracies, best",
    [
        ((0.500, 0.600, 0.550), 2),
        ((0.500, 0.5005, 0.5008), 1),
        ((0.500, 0.5005, 0.5025), 3),
        ((0.0, 0.0, 0.0), 1),
        ((0.500, 0.5015, 0.502), 2),
        ((0.9, 0.1, 0.9005), 1),
    ],
)
def test_a_better_network_must_be_better_by_the_tolerance(monkeypatch, accuracies, best):
    looks, states = iter(accuracies), []

    def look(model, *_, **__):
        states.append(copy.deepcopy(model.state_dict()))
        right = round(10_000 * next(looks))
        return torch.arange(10_000).expand(2, 10_000) < right

    monkeypatch.setattr(loop, "hits_on", look)
    model = small_net()
    progress = train(
        model, data_of(), data_of(6, 1), schedule(iterations=6, evaluate_every=2), seed=1, distortion="blur", sigmas=(1.0,)
    )
    assert TOLERANCE == 0.001
    assert progress.best_iteration == 2 * best and progress.best_accuracy == pytest.approx(accuracies[best - 1])
    assert all(torch.equal(v, states[best - 1][k]) for k, v in model.state_dict().items())
    assert [c["validation"][0] for c in progress.curve] == pytest.approx(list(accuracies))


# ---------------------------------------------------------------- bad input


def test_bad_input():
    with refused("training images", "10", "9"):
        train(small_net(), data_of(9), data_of(6, 1), PLAIN, seed=1)
    with refused("requires gradients"):
        train(trainable_copy(small_net(), []), data_of(), data_of(6, 1), PLAIN, seed=1)
    with refused("fog"):
        train(small_net(), data_of(), data_of(6, 1), PLAIN, seed=1, distortion="fog", sigmas=(1.0,))


def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 100))
    with refused("finite loss", "iteration 3", "below 1e+38"):
        train(model, data_of(), data_of(6, 1), schedule(learning_rate=1e38), seed=1, checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())
