"""`fit` and `rank_filters`: the paper's recipe on anybody's network and images, with labels and without."""

import numpy as np
import pytest
import torch
from support import check_sentence, refused
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dclib import additive_white_gaussian_noise, correct, fit, gaussian_blur, rank_filters
from dclib.correction import uncorrected
from dclib.errors import InputError
from dclib.ranking import accuracy_per_level, correction_priority, swap_accuracy
from dclib.training import Diverged, OutOfTime

SIGMAS = (0.6, 0.9)


def stripes(count, seed=0):
    """Two classes that blur makes hard to tell: stripes across and along, uint8 [N, 3, 12, 12]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    waves = torch.arange(12) % 2 * 160.0
    images = torch.where(labels.view(-1, 1, 1, 1) == 0, waves.view(1, 1, 12, 1), waves.view(1, 1, 1, 12)).expand(
        -1, 3, 12, 12
    )
    return (images + 60 * torch.rand(count, 3, 12, 12, generator=generator)).byte(), labels


def network(seed=0):
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def trained():
    """A network that tells clean stripes, and hardly blurred ones."""
    model = network().train()
    images, labels = stripes(200)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        F.cross_entropy(model(images.float()), labels).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def corrected(trained):
    return correct(trained, {"0": [0, 2, 4, 6]})


def test_ranking_is_algorithm_1(trained):
    images, labels = stripes(60)
    assert images.dtype == torch.uint8
    clean = images.float()
    distorted = torch.stack([gaussian_blur(clean, sigma) for sigma in SIGMAS])
    before = accuracy_per_level(trained, distorted, labels)
    expected = correction_priority(swap_accuracy(trained, ["0"], clean, distorted, labels)["0"], before)
    for distort in ("blur", gaussian_blur, lambda images, sigma: gaussian_blur(images, sigma)):
        found = rank_filters(trained, ["0"], clean, labels, distort=distort, sigmas=SIGMAS)
        assert found.keys() == {"0"} and np.array_equal(found["0"], expected)
    assert np.array_equal(rank_filters(trained, ["0"], images, labels, distort="blur", sigmas=SIGMAS)["0"], expected)
    noisy = [
        rank_filters(trained, ["0"], clean, labels, distort=additive_white_gaussian_noise, sigmas=(150.0, 250.0), seed=seed)[
            "0"
        ]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])


@pytest.mark.parametrize("labelled", [True, False])
def test_units_learn_and_nothing_else_moves(trained, labelled):
    images, labels = stripes(300)
    model = corrected(trained)
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    progress = fit(
        model, images, labels if labelled else None, distort=gaussian_blur, sigmas=SIGMAS, iterations=80, batch_size=32
    )
    new, truth = stripes(200, seed=9)
    levels = torch.stack([gaussian_blur(new.float(), sigma) for sigma in SIGMAS])
    before, after = (accuracy_per_level(tested, levels, truth).mean() for tested in (trained, model.eval()))
    assert after > before + 0.1
    assert all(torch.equal(value, frozen[name]) for name, value in model.named_parameters() if name in frozen)
    assert [look["iteration"] for look in progress.curve] == [10 * n for n in range(1, 9)]
    assert all(len(look["validation"]) == 3 for look in progress.curve)
    assert progress.best_accuracy == max(
        np.mean(look["validation"])
        for look in progress.curve[:1] + [look for look in progress.curve if look["iteration"] == progress.best_iteration]
    )


def test_without_labels_the_gradient_is_that_of_the_divergence(trained):
    """Cross-entropy with the clean answers and Kullback-Leibler's divergence differ by a constant."""
    images = stripes(20)[0].float()
    answers = uncorrected(corrected(trained))(images).softmax(1).detach()
    assert torch.equal(answers, trained(images).softmax(1))
    gradients = []
    for loss in (
        lambda logits: F.cross_entropy(logits, answers),
        lambda logits: F.kl_div(logits.log_softmax(1), answers, reduction="batchmean"),
    ):
        model = corrected(trained)
        loss(model(gaussian_blur(images, 0.9))).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients))


def test_tensors_floats_and_loaders_are_the_same_images(trained):
    images, labels = stripes(64)
    curves = []
    pairs = DataLoader(TensorDataset(images, labels), batch_size=10)
    for given in ((images, labels), (images.float(), labels), (pairs, None)):
        curves.append(fit(corrected(trained), *given, distort="awgn", sigmas=(40.0,), iterations=4, batch_size=8).curve)
    assert curves[0] == curves[1] == curves[2]
    alone = fit(
        corrected(trained),
        DataLoader(images, batch_size=10),
        labels,
        distort="awgn",
        sigmas=(40.0,),
        iterations=4,
        batch_size=8,
    )
    assert alone.curve == curves[0]


def test_held_out_images_of_ones_own(trained):
    images, labels = stripes(64)
    new = stripes(30, seed=4)
    progress = fit(
        corrected(trained), images, labels, distort="blur", sigmas=SIGMAS, iterations=3, batch_size=64, held_out=new
    )
    assert all(round(30 * value) == pytest.approx(30 * value) for look in progress.curve for value in look["validation"])


def test_a_distortion_of_ones_own_is_called_with_each_level(trained):
    seen = set()

    def darker(images, sigma):
        seen.add(sigma)
        return images * sigma

    images, labels = stripes(64)
    fit(corrected(trained), images, labels, distort=darker, sigmas=(0.25, 0.5), iterations=5, batch_size=32)
    assert seen == {0.25, 0.5}


def test_a_stopped_call_goes_on_to_the_same_end(trained, tmp_path):
    images, labels = stripes(64)
    settings = {"distort": "blur", "sigmas": SIGMAS, "iterations": 12, "batch_size": 16}
    whole, parts, path = corrected(trained), None, tmp_path / "fit.safetensors"
    curve = fit(whole, images, labels, **settings).curve
    for _ in range(20):
        parts = corrected(trained)
        try:
            progress = fit(parts, images, labels, checkpoint=path, time_budget=0.0, **settings)
            break
        except OutOfTime:
            assert path.exists()
    assert progress.curve == curve and not path.exists()
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values()))


def test_a_checkpoint_of_another_call(trained, tmp_path):
    images, labels = stripes(64)
    settings = {"distort": "blur", "sigmas": SIGMAS, "batch_size": 16, "checkpoint": tmp_path / "fit.safetensors"}
    with pytest.raises(OutOfTime):
        fit(corrected(trained), images, labels, iterations=12, time_budget=0.0, **settings)
    content = settings["checkpoint"].read_bytes()
    for change in ({"iterations": 24}, {"iterations": 12, "seed": 1}, {"iterations": 12, "peak": 0.2}):
        with refused("fit.safetensors", "other images, network or settings"):
            fit(corrected(trained), images, labels, **(settings | change))
    assert settings["checkpoint"].read_bytes() == content


IMAGES, LABELS = stripes(40)
REFUSED = {
    "nothing to train": ({"network": lambda model: model.requires_grad_(False)}, "requires gradients"),
    "0..1": ({"images": IMAGES.float() / 255}, "multiply by 255"),
    "normalised": ({"images": IMAGES.float() / 100 - 1}, "normalised"),
    "bytes of 0 and 1": ({"images": (IMAGES > 120).byte()}, "multiply by 255"),
    "labels too high": ({"labels": LABELS + 1}, "0 to 1", "1 to 2"),
    "labels of floats": ({"labels": LABELS.float()}, "whole numbers"),
    "too few labels": ({"labels": LABELS[1:]}, "40 whole numbers"),
    "fewer images than a batch": ({"batch_size": 37}, "37", "36"),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]},),
    "no level": ({"sigmas": ()}, "level"),
    "distortion": ({"distort": "fog"}, "blur, awgn"),
    "held out": ({"held_out": 1.0}, "between 0 and 1"),
    "budget alone": ({"time_budget": 3.0}, "checkpoint"),
    "an empty loader": ({"images": [], "labels": None}, "no batch"),
    "a loader of dictionaries": ({"images": [{"x": 1}], "labels": None}, "dict"),
    "labels twice": ({"images": [(IMAGES, LABELS)]}, "leave them out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(trained, case, tmp_path):
    change, *words = REFUSED[case]
    model = change.pop("network", lambda model: model)(corrected(trained)) if "network" in change else corrected(trained)
    given = {
        "images": IMAGES,
        "labels": LABELS,
        "distort": "blur",
        "sigmas": SIGMAS,
        "iterations": 4,
        "batch_size": 8,
    } | change
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with refused(*words):
        fit(model, **given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loss_that_is_not_finite(trained):
    with pytest.raises(Diverged) as caught:
        fit(corrected(trained), IMAGES, LABELS, distort="blur", sigmas=SIGMAS, iterations=30, batch_size=8, peak=1e30)
    check_sentence(str(caught.value), "finite loss", "learning rate")


def test_a_ranking_without_levels_or_with_another_distortion(trained):
    for change in ({"sigmas": ()}, {"distort": "fog"}, {"distort": 3}, {"score": "best"}):
        with pytest.raises(InputError) as caught:
            rank_filters(trained, ["0"], IMAGES.float(), LABELS, **{"distort": "blur", "sigmas": SIGMAS} | change)
        check_sentence(str(caught.value))
