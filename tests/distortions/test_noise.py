"""White Gaussian noise against its moments, and what generators decide of it."""

import math

import pytest
import torch
from scipy import stats
from white_images import noisy

from dclib.distortions import additive_white_gaussian_noise


@pytest.mark.parametrize("sigma", [5.0, 30.0, 100.0])
def test_noise_has_the_mean_the_deviation_and_the_shape_of_a_normal(sigma):
    images = noisy(20, 3, 32, 32)
    noise = (additive_white_gaussian_noise(images, sigma, torch.Generator().manual_seed(1)) - images).flatten()
    assert abs(noise.mean()) < 4 * sigma / math.sqrt(len(noise))
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert stats.kstest(noise[:5000].numpy() / sigma, "norm").pvalue > 0.01


def test_noise_is_independent_over_pixels_channels_and_images():
    images = torch.full((40, 3, 32, 32), 128.0)
    noise = additive_white_gaussian_noise(images, 10.0, torch.Generator().manual_seed(2)) - images
    bound = 5 / math.sqrt(noise.numel() / 3)
    for one, other in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
    ):
        assert abs((one * other).mean() / 100) < bound


def test_noise_is_not_clipped():
    noise = additive_white_gaussian_noise(torch.tensor([0.0, 255.0]).view(2, 1, 1, 1).expand(2, 1, 32, 32), 30.0)
    assert noise.min() < -30 and noise.max() > 285


def test_equal_generators_give_equal_noise():
    images = noisy(2, 3, 8, 8)
    draw = [additive_white_gaussian_noise(images, 5.0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    generator = torch.Generator().manual_seed(1)
    first, second = (additive_white_gaussian_noise(images, 5.0, generator) for _ in range(2))
    assert torch.equal(first, draw[0]) and not torch.equal(first, second)


def test_noise_without_a_generator_follows_the_global_seed():
    images = noisy(2, 3, 8, 8)
    torch.manual_seed(4)
    first = additive_white_gaussian_noise(images, 5.0)
    torch.manual_seed(4)
    assert torch.equal(first, additive_white_gaussian_noise(images, 5.0))


def test_one_noise_sigma_per_image():
    images = torch.full((3, 3, 32, 32), 128.0)
    noise = additive_white_gaussian_noise(images, torch.tensor([0.0, 5.0, 20.0])) - images
    assert not noise[0].any()
    assert noise[1].std() == pytest.approx(5, rel=0.1) and noise[2].std() == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_keeps_the_precision(dtype):
    images = noisy(2, 3, 16, 16, dtype=dtype)
    result = additive_white_gaussian_noise(images, torch.tensor([0.0, 10.0]))
    assert result.dtype == dtype and torch.equal(result[0], images[0]) and not torch.equal(result[1], images[1])
