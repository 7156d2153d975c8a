"""The training loop against plain loops: schedule, augmentation, batches, gradients, choice of model, resumption."""

import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from support import refused, settled
from torch import nn
from torch.nn import functional as F

from dclib import training
from dclib.correction import UnitDesign, correct
from dclib.datasets import Split
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
from dclib.evaluation import all_levels, correct_on, correct_predictions, distorted_copies
from dclib.models import AllConvNet, trainable_copy
from dclib.runs import Schedule
from dclib.training import TOLERANCE, OutOfTime, augment, train

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


# ---------------------------------------------------------------- augmentation

def images_of(count, height=32, width=32):
    return 255 * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(9))


def drawn(seed, count):
    """The uniform numbers [4, count] that `augment` will draw."""
    return torch.rand(4, count, generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("height, width", [(32, 32), (9, 14)])
def test_pad_crop_flip_equals_a_loop(height, width):
    images = images_of(40, height, width)
    result = augment(images, "pad-crop-flip", torch.Generator().manual_seed(4))
    for i, (flip, down, right, _) in enumerate(zip(*drawn(4, 40))):
        padded = np.pad(images[i].numpy(), ((0, 0), (4, 4), (4, 4)))
        row, column = math.floor(down * 9), math.floor(right * 9)
        crop = padded[:, row:row + height, column:column + width]
        assert np.array_equal(result[i].numpy(), crop[:, :, ::-1] if flip < 0.5 else crop)


def test_pad_crop_flip_reaches_every_place_equally_often():
    marker = torch.zeros(1, 1, 32, 32)
    marker[0, 0, 16, 10] = 1
    result = augment(marker.expand(8100, 1, 32, 32), "pad-crop-flip", torch.Generator().manual_seed(0))
    _, _, rows, columns = result.nonzero(as_tuple=True)
    straight = columns < 16
    assert 0.47 < straight.double().mean() < 0.53
    counts = torch.zeros(9, 9).index_put_((rows[straight] - 12, columns[straight] - 6), torch.ones(()), accumulate=True)
    assert counts.min() > 20 and counts.max() < 90  # 50 expected


def fixed_draws(monkeypatch, flip, angle, down, right):
    """Let `augment` draw these: angle in degrees, shifts as shares of the image."""
    numbers = [0.0 if flip else 1.0, (angle / 20 + 1) / 2, (right / 0.15 + 1) / 2, (down / 0.15 + 1) / 2]
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.tensor(numbers).view(4, 1).repeat(1, size[1]))


@pytest.mark.parametrize("size", [(32, 32), (9, 14)])
def test_rotate_shift_flip_of_nothing_is_the_identity(monkeypatch, size):
    images = images_of(5, *size)
    fixed_draws(monkeypatch, False, 0, 0, 0)
    assert torch.equal(augment(images, "rotate-shift-flip"), images)
    fixed_draws(monkeypatch, True, 0, 0, 0)
    assert torch.equal(augment(images, "rotate-shift-flip"), images.flip(3))


def test_shifts_repeat_the_nearest_pixel(monkeypatch):
    images = images_of(1, 40, 40)
    fixed_draws(monkeypatch, False, 0, 0.125, -0.075)  # 5 rows, 3 columns
    expected = np.pad(images[0].numpy(), ((0, 0), (5, 5), (5, 5)), mode="edge")[:, 10:50, 2:42]
    assert np.array_equal(augment(images, "rotate-shift-flip")[0].numpy(), expected)


def test_rotate_shift_flip_equals_a_loop():
    """Each output pixel is the nearest to where rotation, shift and flip point, and that place is never further off."""
    side, count = 32, 60
    ramp = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).float()  # row, column
    result = augment(ramp.expand(count, 2, side, side), "rotate-shift-flip", torch.Generator().manual_seed(3)).numpy()
    middle = (side - 1) / 2
    y, x = np.mgrid[:side, :side] - middle
    for i, (flip, turn, right, down) in enumerate(zip(*drawn(3, count))):
        angle, sign = np.deg2rad((2 * turn - 1) * 20), -1 if flip < 0.5 else 1
        row = np.sin(angle) * sign * x + np.cos(angle) * y + (2 * down - 1) * 0.15 * side + middle
        column = np.cos(angle) * sign * x - np.sin(angle) * y + (2 * right - 1) * 0.15 * side + middle
        for found, place in ((result[i, 0], row), (result[i, 1], column)):
            assert np.abs(found - np.clip(place, 0, side - 1)).max() < 0.501


@pytest.mark.parametrize("name", ["none", "pad-crop-flip", "rotate-shift-flip"])
def test_augmentation_keeps_shape_range_and_input(name):
    images = images_of(6)
    before = images.clone()
    first, second = (augment(images, name, torch.Generator().manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(images, before) and torch.equal(first, second)
    assert first.shape == images.shape and first.dtype == images.dtype
    assert 0 <= first.min() and first.max() <= 255
    if name != "none":
        assert not torch.equal(first, augment(images, name, torch.Generator().manual_seed(2)))


def test_unknown_augmentation():
    with refused("'cutmix'"):
        augment(images_of(1), "cutmix")


# ---------------------------------------------------------------- mini-batches

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
    passes = [order[i:i + count] for i in range(0, len(order) - count + 1, count)]
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
    batches = seen_batches(schedule(iterations=iterations, batch_size=size, evaluate_every=iterations), numbered(60),
                           distortion="blur", sigmas=sigmas)
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
    batches = seen_batches(schedule(iterations=50, batch_size=12, evaluate_every=50), numbered(60, side=32),
                           distortion="awgn", sigmas=sigmas)
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

def net(width=4, classes=10):
    torch.manual_seed(3)
    return settled(AllConvNet(classes, width, batchnorm_momentum=0.1))


def data_of(count=40, seed=0, classes=10):
    generator = torch.Generator().manual_seed(seed)
    return Split(torch.randint(0, 256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8),
                 torch.randint(0, classes, (count,), generator=generator))


def train_by_hand(model, batches, s, penalty=lambda model: 0.0):
    """SGD with Nesterov momentum as the textbook has it, on a loss with its penalties written out; gives the losses."""
    losses = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(p) for p in parameters]
    model.train()
    for i, (images, labels) in enumerate(batches):
        loss = F.cross_entropy(model(images), labels) + penalty(model)
        rate = s.rate(i)
        for p, v, g in zip(parameters, velocity, torch.autograd.grad(loss, parameters)):
            v.mul_(0.9).add_(g)
            p.data -= rate * (g + 0.9 * v)
        losses.append(loss.item())
    return losses


def recorded(model, data, s, into=None):
    """Train `model`; returns the images and labels of each iteration, and puts the curve into `into`."""
    inputs = []
    hook = model.register_forward_pre_hook(lambda m, i: inputs.append(i[0].clone()) if m.training else None)
    progress = train(model, data, data_of(6, seed=1), s, seed=1)
    hook.remove()
    if into is not None:
        into += progress.curve
    whole = data.images.float()

    def label(image):
        return data.labels[(whole == image).flatten(1).all(1)][0]

    return [(batch, torch.stack([label(image) for image in batch])) for batch in inputs]


def check_equal(model, other):
    for (name, value), expected in zip(model.state_dict().items(), other.state_dict().values()):
        assert torch.allclose(value.double(), expected.double(), rtol=1e-3, atol=1e-5), name


def test_steps_equal_textbook_sgd_with_l2():
    model, data = net(), data_of()
    by_hand = copy.deepcopy(model)
    s = schedule(iterations=4, evaluate_every=4, decay=0.1, learning_rate=0.02, drops=(2,),
                 l2=(("conv1", 0.3), ("conv9", 0.02)))

    def penalty(m):
        return 0.3 * m.conv1.weight.square().sum() + 0.02 * m.conv9.weight.square().sum()

    train_by_hand(by_hand, recorded(model, data, s), s, penalty)
    check_equal(model, by_hand)


def test_steps_equal_textbook_sgd_with_l1_on_the_units():
    data = data_of()
    model = correct(net(), {"conv1": [0, 2], "conv4": [1]}, UnitDesign(3, input_batchnorm=True), also_train=["conv9"])
    by_hand = copy.deepcopy(model)
    s = schedule(iterations=3, evaluate_every=3, learning_rate=0.02, l1=0.01, l2=(("conv9", 0.05), ("conv2", 5.0)))

    def penalty(m):
        units = [w for name, w in m.named_parameters() if ".unit." in name and w.ndim == 4]
        assert len(units) == 8
        return 0.01 * sum(w.abs().sum() for w in units) + 0.05 * m.conv9.weight.square().sum()

    train_by_hand(by_hand, recorded(model, data, s), s, penalty)
    check_equal(model, by_hand)


def test_l1_does_nothing_without_units():
    models = [trainable_copy(net(), ["conv1"]) for _ in range(2)]
    for model, l1 in zip(models, (0.0, 0.5)):
        train(model, data_of(), data_of(6, 1), schedule(l1=l1), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values()))


def test_only_what_requires_gradients_changes():
    model = trainable_copy(net(), ["conv2"])
    before = copy.deepcopy(model.state_dict())
    train(model, data_of(), data_of(6, 1), PLAIN, seed=1, distortion="blur", sigmas=(1.0,))
    changed = {k.rpartition(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"conv2", "bn2"} and not model.training


def test_curve_and_report():
    model, calls = net(), []
    s = schedule(iterations=25, evaluate_every=10)
    progress = train(model, data_of(), data_of(6, 1), s, seed=1, distortion="blur", sigmas=(1.0, 2.0),
                     report=lambda i, loss: calls.append((i, loss)))
    assert [c["iteration"] for c in progress.curve] == [10, 20, 25] and progress.iteration == 25
    assert all(len(c["validation"]) == 3 for c in progress.curve)
    assert [i for i, _ in calls] == [10, 20] and all(math.isfinite(loss) for _, loss in calls)
    assert json.loads(json.dumps(progress.curve)) == progress.curve


def test_the_curve_has_the_mean_loss_since_the_last_look():
    model, by_hand = net(), net()
    s = schedule(iterations=5, evaluate_every=2, learning_rate=0.02)
    curve = []
    losses = train_by_hand(by_hand, recorded(model, data_of(), s, into=curve), s)
    expected = [np.mean(losses[:2]), np.mean(losses[2:4]), losses[4]]
    assert [c["loss"] for c in curve] == pytest.approx(expected, rel=1e-4)


def test_bfloat16_trains_too():
    model = net()
    before = copy.deepcopy(model.state_dict())
    progress = train(model, data_of(), data_of(6, 1), schedule(iterations=2), seed=1, precision="bfloat16")
    assert math.isfinite(progress.curve[-1]["loss"]) and not torch.equal(model.conv1.weight, before["conv1.weight"])
    assert {p.dtype for p in model.parameters()} == {torch.float32}


# ---------------------------------------------------------------- which network is kept

@pytest.mark.parametrize("accuracies, best", [
    ((0.500, 0.600, 0.550), 2), ((0.500, 0.5005, 0.5008), 1), ((0.500, 0.5005, 0.5025), 3), ((0.0, 0.0, 0.0), 1),
    ((0.500, 0.5015, 0.502), 2), ((0.9, 0.1, 0.9005), 1),
])
def test_a_better_network_must_be_better_by_the_tolerance(monkeypatch, accuracies, best):
    looks, states = iter(accuracies), []

    def look(model, *_, **__):
        states.append(copy.deepcopy(model.state_dict()))
        right = round(10_000 * next(looks))
        return torch.arange(10_000).expand(2, 10_000) < right

    monkeypatch.setattr(training, "correct_on", look)
    model = net()
    progress = train(model, data_of(), data_of(6, 1), schedule(iterations=6, evaluate_every=2), seed=1,
                     distortion="blur", sigmas=(1.0,))
    assert TOLERANCE == 0.001
    assert progress.best_iteration == 2 * best and progress.best_accuracy == pytest.approx(accuracies[best - 1])
    assert all(torch.equal(v, states[best - 1][k]) for k, v in model.state_dict().items())
    assert [c["validation"][0] for c in progress.curve] == pytest.approx(list(accuracies))


# ---------------------------------------------------------------- stopped and resumed

KINDS = {
    "baseline": (net, None),
    "finetune": (lambda: trainable_copy(net(), ["conv1", "conv2"]), "awgn"),
    "deepcorrect": (lambda: correct(net(), {"conv1": [0, 3]}, UnitDesign(2, input_batchnorm=True),
                                    also_train=["conv8"]), "blur"),
}
RESUMED = Schedule(8, 10, 0.05, (5,), 3, warm_up=2, warm_up_rate=0.01, decay=1e-3, l1=1e-3, l2=(("conv1", 1e-3),))


def run_until(model, kind, path, monkeypatch, stop=None):
    """Train for `stop` iterations of the clock, which counts the iterations of this process."""
    count = [0]
    hook = model.register_forward_pre_hook(lambda m, i: count.__setitem__(0, count[0] + m.training))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: float(count[0])))
    distortion = KINDS[kind][1]
    try:
        return train(model, data_of(24), data_of(6, 1), RESUMED, seed=5, distortion=distortion,
                     sigmas=(1.0, 3.0) if distortion else (), checkpoint=path,
                     deadline=None if stop is None else stop - 0.5)
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def undisturbed():
    made = {}

    def result(kind):
        if kind not in made:
            model = KINDS[kind][0]()
            with pytest.MonkeyPatch.context() as patch:
                made[kind] = model, run_until(model, kind, None, patch)
        return made[kind]

    return result


def check_same_end(model, progress, expected_model, expected):
    assert progress.curve == expected.curve
    assert (progress.iteration, progress.best_iteration, progress.best_accuracy) == (
        expected.iteration, expected.best_iteration, expected.best_accuracy)
    assert all(torch.equal(v, expected_model.state_dict()[k]) for k, v in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stops", [[1], [3], [4], [7], [2, 2, 2], [1] * 7, [3, 3], [5, 1]], ids=str)
def test_a_stopped_run_ends_as_an_uninterrupted_one(undisturbed, kind, stops, tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "run.safetensors"
    for done, stop in enumerate(stops, start=1):
        with pytest.raises(OutOfTime):
            run_until(KINDS[kind][0](), kind, path, monkeypatch, stop)
        with safe_open(path, "pt") as file:
            assert json.loads(file.metadata()["progress"])["iteration"] == sum(stops[:done])
    model = KINDS[kind][0]()
    progress = run_until(model, kind, path, monkeypatch)
    check_same_end(model, progress, *undisturbed(kind))
    assert [p.name for p in path.parent.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_from_its_last_look(undisturbed, kind, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    model = KINDS[kind][0]()
    count = [0]
    model.register_forward_pre_hook(lambda m, i: count.__setitem__(0, count[0] + m.training) or
                                    (kill() if count[0] == 6 else None))
    with pytest.raises(Killed):
        train(model, data_of(24), data_of(6, 1), RESUMED, seed=5, distortion=KINDS[kind][1],
              sigmas=(1.0, 3.0) if KINDS[kind][1] else (), checkpoint=path)
    model = KINDS[kind][0]()
    check_same_end(model, run_until(model, kind, path, monkeypatch), *undisturbed(kind))


def test_a_checkpoint_of_the_end_ends_at_once(undisturbed, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OutOfTime):
        run_until(KINDS["baseline"][0](), "baseline", path, monkeypatch, 7)
    model = KINDS["baseline"][0]()
    run_until(model, "baseline", path, monkeypatch, stop=1)  # one iteration is left, and done, late as it is
    assert all(torch.equal(v, undisturbed("baseline")[0].state_dict()[k]) for k, v in model.state_dict().items())


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OutOfTime):
        run_until(KINDS["finetune"][0](), "finetune", path, monkeypatch, 4)
    return path


def rewritten(path, change_tensors=lambda t: t, change_metadata=lambda m: m):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(change_tensors(load_file(path)), path, change_metadata(metadata))


def without(prefix):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(prefix)}


DAMAGE = {
    "empty": lambda p: p.write_bytes(b""),
    "header": lambda p: p.write_bytes(p.read_bytes()[:50]),
    "half": lambda p: p.write_bytes(p.read_bytes()[:p.stat().st_size // 2]),
    "last byte": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "noise": lambda p: p.write_bytes(b"\x93\x07" * 500),
    "no progress": lambda p: rewritten(p, change_metadata=lambda m: {}),
    "no metadata": lambda p: rewritten(p, change_metadata=lambda m: None),
    "half of the progress": lambda p: rewritten(p, change_metadata=lambda m: {"progress": m["progress"][:20]}),
    "other progress": lambda p: rewritten(p, change_metadata=lambda m: {"progress": '{"epoch": 3}'}),
    "list": lambda p: rewritten(p, change_metadata=lambda m: {"progress": "[1]"}),
    "no momentum": lambda p: rewritten(p, without("momentum.1")),
    "no best": lambda p: rewritten(p, without("best.conv1")),
    "no model": lambda p: rewritten(p, without("model.bn3")),
    "other momentum": lambda p: rewritten(p, lambda t: t | {"momentum.0": torch.zeros(3, 3)}),
    "other network": lambda p: rewritten(p, lambda t: t | {"model.conv1.weight": torch.zeros(5, 3, 3, 3)}),
    "folder": lambda p: (p.unlink(), p.mkdir()),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_checkpoints(checkpoint, monkeypatch, case):
    DAMAGE[case](checkpoint)
    content = checkpoint.read_bytes() if checkpoint.is_file() else None
    with refused("run.safetensors", "delete"):
        run_until(KINDS["finetune"][0](), "finetune", checkpoint, monkeypatch)
    assert content is None or checkpoint.read_bytes() == content


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space left")])
def test_a_checkpoint_that_cannot_be_written(checkpoint, monkeypatch, error):
    whole = checkpoint.read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(training, "save_file", fail)
    with refused("DCLIB_RESULTS", "o space left"):
        run_until(KINDS["finetune"][0](), "finetune", checkpoint, monkeypatch)
    assert checkpoint.read_bytes() == whole and len(list(checkpoint.parent.iterdir())) == 1


def test_a_checkpoint_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with refused("DCLIB_RESULTS"):
        run_until(net(), "baseline", tmp_path / "file" / "run.safetensors", monkeypatch)


def test_bad_input():
    with refused("training images", "10", "9"):
        train(net(), data_of(9), data_of(6, 1), PLAIN, seed=1)
    with refused("requires gradients"):
        train(trainable_copy(net(), []), data_of(), data_of(6, 1), PLAIN, seed=1)
    with refused("fog"):
        train(net(), data_of(), data_of(6, 1), PLAIN, seed=1, distortion="fog", sigmas=(1.0,))


def test_a_training_that_diverges_says_so_and_leaves_nothing(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 100))
    with refused("finite loss", "iteration 3", "below 1e+38"):
        train(model, data_of(), data_of(6, 1), schedule(learning_rate=1e38), seed=1, checkpoint=tmp_path / "c.safetensors")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- evaluation

@pytest.mark.parametrize("distortion, sigmas", [(None, ()), ("blur", (0.5, 2.0)), ("awgn", (5.0, 30.0))])
def test_correct_predictions_equal_a_loop(distortion, sigmas):
    model, data = net().train(), data_of(530)
    found = correct_predictions(model, data, distortion, sigmas, batch_size=250)
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
    model, data = net(), data_of(1010)
    found = [correct_predictions(model, data, "awgn", (5.0, 30.0), batch_size=size) for size in (250, 500, 1000)]
    assert all((f != found[0]).double().mean() < 0.005 for f in found)
    with refused("batch_size", "250"):
        correct_predictions(model, data, "awgn", (5.0,), batch_size=100)


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


def test_blur_of_the_evaluation_is_gaussian_blur():
    data = data_of(5)
    for level, sigma in zip(distorted_copies(data, "blur", (0.5, 3.0)), (0.5, 3.0)):
        assert torch.allclose(level, gaussian_blur(data.images.float(), sigma), atol=1e-3)


def test_looks_agree_with_the_evaluation():
    model, data = net(), data_of(300)
    for distortion, sigmas in ((None, ()), ("blur", (1.0,)), ("awgn", (9.0, 20.0))):
        levels = all_levels(data, distortion, sigmas)
        assert levels.shape[:2] == (1 + len(sigmas), 300) and torch.equal(levels[0], data.images.float())
        found = correct_on(model, levels, data.labels, batch_size=110)
        assert (found != correct_predictions(model, data, distortion, sigmas)).double().mean() < 0.005


def test_unknown_distortion_in_the_evaluation():
    with refused("'fog'"):
        correct_predictions(net(), data_of(4), "fog", (1.0,))


def test_noise_in_training_and_evaluation_is_the_public_noise():
    images = torch.full((64, 3, 32, 32), 100.0)
    public = additive_white_gaussian_noise(images, 20.0) - images
    evaluated = distorted_copies(Split(images.byte(), torch.zeros(64)), "awgn", (20.0,))[0] - images
    assert public.std().item() == pytest.approx(evaluated.std().item(), rel=0.02)
