"""The gate's parts: natural scene statistics against SciPy, conditions, adversaries within their budget, ROC curves."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage.data import astronaut
from sklearn.metrics import roc_auc_score, roc_curve
from support import images, refused, small_net
from torch.nn import functional as F

from dclib.distortions import defocus_blur
from dclib.neighbours import (
    ADVERSARIES,
    Student,
    detection,
    distil,
    false_alarm_threshold,
    fgsm,
    natural_scene_statistics,
    pgd,
    suspicion,
    under,
)
from dclib.neighbours.quality import FEATURES, asymmetric, normalised, symmetric


def photograph():
    return torch.from_numpy(astronaut()[:160, 100:260].copy()).permute(2, 0, 1)[None].float()


def test_normalised_coefficients_are_scipys():
    grey = photograph().mean(1, keepdim=True).double()
    pixels = grey[0, 0].numpy()

    def local(values):
        return ndimage.gaussian_filter(values, 7 / 6, mode="nearest", truncate=3 / (7 / 6))

    mean = local(pixels)
    expected = (pixels - mean) / (np.sqrt((local(pixels**2) - mean**2).clip(0)) + 1)
    np.testing.assert_allclose(normalised(grey)[0, 0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0, 4.0])
def test_a_generalised_gaussian_is_recovered(shape):
    drawn = stats.gennorm.rvs(shape, scale=3.0, size=(2, 40_000), random_state=0)
    found = symmetric(torch.from_numpy(drawn))
    np.testing.assert_allclose(found[:, 0], shape, rtol=0.06)
    np.testing.assert_allclose(found[:, 1], drawn.var(1), rtol=0.01)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
def test_an_asymmetric_one_too(shape):
    """Both sides have one shape; the left one takes a share of the draws as large as its scale."""
    rng = np.random.default_rng(0)
    left, right, size = 1.0, 2.5, np.abs(stats.gennorm.rvs(shape, size=60_000, random_state=1))
    signed = np.where(rng.random(size.shape) < left / (left + right), -left * size, right * size)
    (found,) = asymmetric(torch.from_numpy(signed[None]))
    assert found[0] == pytest.approx(shape, rel=0.06)
    assert found[1] == pytest.approx(signed.mean(), rel=0.05)
    assert found[2:].tolist() == pytest.approx([(signed[side] ** 2).mean() for side in (signed < 0, signed > 0)])


def test_statistics_move_with_the_quality():
    clear = photograph()
    found = natural_scene_statistics(torch.cat([clear, under("gaussian 2", clear), under("noise 40", clear)]))
    assert found.shape == (3, FEATURES) and np.isfinite(found).all()
    # Blur takes differences to the local mean away, noise brings them; and noise has no values far out.
    assert found[1, 1] < 0.7 * found[0, 1] < 0.7 * found[2, 1] and found[2, 0] > found[0, 0]
    np.testing.assert_allclose(found[:1], natural_scene_statistics(clear), rtol=1e-6)
    assert np.isfinite(natural_scene_statistics(torch.full((1, 3, 16, 16), 128.0))).all()
    with refused("16x16"):
        natural_scene_statistics(torch.full((1, 3, 8, 8), 128.0))


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    "name",
    ["sharp", "gaussian 2", "motion 2 45", "noise 20", "jpeg 10", "contrast 0.2", "pixels 8", "salt 0.1", "upside down"],
)
def test_conditions_give_grey_values_of_their_own(name):
    seen = photograph()
    found = under(name, seen, torch.Generator().manual_seed(1))
    assert found.shape == seen.shape and torch.equal(found, found.round()) and 0 <= found.min() and found.max() <= 255
    assert torch.equal(found, seen) == (name == "sharp")
    assert torch.equal(found, under(name, seen, torch.Generator().manual_seed(1)))


def test_conditions_do_what_they_say():
    seen = photograph()
    assert torch.equal(under("defocus 2", seen), defocus_blur(seen, 4.0).round())
    assert torch.equal(under("upside down", seen)[0, :, 0], seen[0, :, -1])
    assert under("contrast 0.2", seen).std() == pytest.approx(0.2 * seen.std().item(), rel=0.01)
    squares = under("pixels 8", seen)
    assert torch.equal(squares[..., :8, :8], squares[..., :1, :1].expand(1, 3, 8, 8))
    assert squares[0, :, 0, 0].sub(seen[0, :, :8, :8].mean((1, 2))).abs().max() <= 0.5
    salted = under("salt 0.1", seen, torch.Generator().manual_seed(0)) != seen
    assert 0.08 < salted.any(1).float().mean() < 0.12
    noisy = under("noise 20", torch.full((1, 3, 64, 64), 128.0), torch.Generator().manual_seed(0))
    assert noisy.std() == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("name", ["fog", "jpeg", "jpeg 0", "contrast 2", "fgsm", "noise -1"])
def test_other_conditions_are_refused(name):
    with refused("condition", name):
        under(name, images(), network=small_net(), labels=torch.zeros(4, dtype=torch.int64))
    with refused("made against"):
        under("fgsm 4", images())


# ---------------------------------------------------------------- adversaries


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("budget", [1, 8])
def test_adversaries_stay_within_their_budget_and_raise_the_loss(attack, budget):
    network, seen = small_net(), images(6).round()
    labels = network(seen).argmax(1)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = attack(network, seen, labels, budget)
    assert (found - seen).abs().max() <= budget + 1e-4 and 0 <= found.min() and found.max() <= 255
    assert not found.requires_grad and all(p.grad is None for p in network.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert F.cross_entropy(network(found), labels) > F.cross_entropy(network(seen), labels)


def test_fgsm_takes_the_sign_of_a_numerical_gradient():
    network, seen = small_net().double(), images(1).double().clamp(20, 230)
    labels = torch.tensor([3])
    moved = fgsm(network, seen, labels, 2.0) - seen
    for place in ((0, 0, 5, 5), (0, 1, 16, 9), (0, 2, 30, 30)):
        step = torch.zeros_like(seen)
        step[place] = 1e-3
        slope = F.cross_entropy(network(seen + step), labels) - F.cross_entropy(network(seen - step), labels)
        assert moved[place].item() == pytest.approx(2 * np.sign(slope.item()), abs=1e-9)


def test_steps_of_pgd_go_further_than_one_step():
    network, seen = small_net(), images(8, seed=2)
    labels = network(seen).argmax(1)
    once = fgsm(network, seen, labels, 2)
    often = pgd(network, seen, labels, 2, generator=torch.Generator().manual_seed(0))
    assert F.cross_entropy(network(often), labels) > F.cross_entropy(network(once), labels)
    found = [under("pgd 2", seen, torch.Generator().manual_seed(4), network=network, labels=labels) for _ in range(2)]
    assert torch.equal(*found)
    assert {"fgsm", "pgd"} == set(ADVERSARIES)
    with refused("budget"):
        fgsm(network, seen, labels, 0)
    with refused("labels"):
        pgd(network, seen, labels[:2], 1)


# ---------------------------------------------------------------- detection


@pytest.mark.parametrize("seed", range(3))
def test_curve_and_area_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    bad = rng.random(200) < 0.3
    scores = (rng.normal(size=200) + bad).round(1)  # with ties
    found = detection(scores, bad)
    alarms, detected, _ = roc_curve(bad, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_alarms, alarms)
    np.testing.assert_allclose(found.detected, detected)
    assert found.area == pytest.approx(roc_auc_score(bad, scores)) == pytest.approx(np.trapezoid(detected, alarms))
    with refused("both good and bad"):
        detection(scores, np.ones(200, dtype=bool))


def test_a_threshold_lets_no_more_alarms_through():
    scores = np.random.default_rng(0).normal(size=100)
    threshold = false_alarm_threshold(scores, 0.05)
    assert (scores > threshold).sum() == 5
    assert (np.zeros(10) > false_alarm_threshold(np.zeros(10), 0.2)).sum() == 0


# ---------------------------------------------------------------- the student


def test_a_student_learns_what_it_is_taught():
    """Bright images are reliable, dark ones are not."""
    rng = torch.Generator().manual_seed(0)
    seen = torch.cat([torch.randint(low, low + 120, (20, 3, 32, 32), generator=rng) for low in (0, 130)]).byte()
    taught = torch.cat([torch.full((20,), 0.1), torch.full((20,), 0.9)])
    students = [distil(seen, taught, lambda iteration: 0.003, 40, 16) for _ in range(2)]
    found = suspicion(students[0], seen)
    assert found.shape == (40,) and found[:20].min() > found[20:].max()
    assert torch.equal(found, suspicion(students[1], seen))
    assert sum(p.numel() for p in Student().parameters()) < 25_000
