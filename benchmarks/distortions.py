"""Blur and noise against loops over OpenCV, scikit-image and a batched kornia: microseconds an image.

usage: python -m benchmarks.distortions [--device cpu] [--images 2000]
Ratios above 1 mean that dclib is faster. Sizes: 32 pixels at sigma 3, 256 pixels at sigma 6 (the strongest levels).
"""

import argparse

import cv2
import kornia
import numpy as np
import skimage
import torch

from benchmarks.measure import entry, seconds, write
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
from dclib.training import keep_freed_memory


def blur_entries(size: int, sigma: float, count: int, device: str) -> list[dict]:
    """Every way of blurring `count` images of `size` pixels, dclib first."""
    images = torch.rand(count, 3, size, size) * 255
    there, arrays = images.to(device), images.permute(0, 2, 3, 1).contiguous().numpy()
    window = int(4 * sigma + 1)
    ways = {
        "dclib": lambda: gaussian_blur(there, sigma),
        "OpenCV, loop": lambda: [
            cv2.GaussianBlur(a, (window, window), sigma, borderType=cv2.BORDER_CONSTANT) for a in arrays
        ],
        "scikit-image, loop": lambda: [
            skimage.filters.gaussian(a, sigma, mode="constant", truncate=2.0, channel_axis=2) for a in arrays
        ],
        "kornia, batched": lambda: kornia.filters.gaussian_blur2d(there, (window, window), (sigma, sigma), "constant"),
    }
    return _entries(f"blur {size} px, sigma {sigma:g}", ways, count, device)


def noise_entries(size: int, sigma: float, count: int, device: str) -> list[dict]:
    """Every way of adding noise to `count` images."""
    images = torch.rand(count, 3, size, size) * 255
    there, arrays = images.to(device), images.permute(0, 2, 3, 1).contiguous().numpy()
    random = np.random.default_rng(0)
    kornia_noise = kornia.augmentation.RandomGaussianNoise(std=sigma, p=1.0)
    ways = {
        "dclib": lambda: additive_white_gaussian_noise(there, sigma),
        "OpenCV, loop": lambda: [cv2.add(a, cv2.randn(np.empty_like(a), 0, sigma)) for a in arrays],
        "scikit-image, loop": lambda: [
            skimage.util.random_noise(a / 255, var=(sigma / 255) ** 2, clip=False, rng=random) for a in arrays
        ],
        "kornia, batched": lambda: kornia_noise(there),
    }
    return _entries(f"noise {size} px, sigma {sigma:g}", ways, count, device)


def _entries(title: str, ways: dict, count: int, device: str) -> list[dict]:
    times = {name: seconds(way, device) for name, way in ways.items()}
    ours = sorted(times["dclib"])[len(times["dclib"]) // 2]
    return [
        entry(
            f"{title}: {name}",
            [1e6 * t for t in ts],
            count,
            "us/image",
            **({} if name == "dclib" else {"ratio": sorted(ts)[len(ts) // 2] / ours}),
        )
        for name, ts in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=2000)
    options = parser.parse_args()
    keep_freed_memory()  # as training does; else every second call pays for page faults
    few = max(1, options.images // 50)
    entries = [
        *blur_entries(32, 3.0, options.images, options.device),
        *blur_entries(256, 6.0, few, options.device),
        *noise_entries(32, 30.0, options.images, options.device),
        *noise_entries(256, 100.0, few, options.device),
    ]
    write("distortions", entries, options.device, ("opencv-python-headless", "scikit-image", "kornia"))


if __name__ == "__main__":
    main()
