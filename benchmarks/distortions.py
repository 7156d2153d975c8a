"""Blur and noise against loops over OpenCV, scikit-image and a batched kornia: microseconds an image.

usage: python -m benchmarks.distortions [--device cpu] [--images 2000] [--threads 1]
Ratios above 1 mean that dclib is faster. Of larger pictures fewer are taken, so that all have as many pixels together.
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
    parser.add_argument("--images", type=int, default=2000, help="of 32 pixels")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    keep_freed_memory()  # as training does; else every second call pays for page faults
    blurs = [(32, 3.0), (64, 3.0), *((size, sigma) for size in (224, 256, 512) for sigma in (2.0, 6.0))]
    noises = [(32, 30.0), (256, 100.0)]
    entries = [
        found
        for entries_of, those in ((blur_entries, blurs), (noise_entries, noises))
        for size, sigma in those
        for found in entries_of(size, sigma, max(1, options.images * 32**2 // size**2), options.device)
    ]
    name = f"distortions-{options.threads}thread"
    write(name, entries, options.device, ("opencv-python-headless", "scikit-image", "kornia"))


if __name__ == "__main__":
    main()
