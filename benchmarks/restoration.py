"""Seconds an image: restoration by BM3D and deconvolution, and AlexNet's forward pass without and with Deepcorr-5's units.

usage: python -m benchmarks.restoration [--device cpu] [--images 3]
Photographs of 227x227 pixels that ship with scikit-image, noise of sigma 40 and blur of sigma 4, the middle levels. The
networks have random weights, which changes no time. Ratios compare with the whole corrected network: restoration comes on
top of the baseline's forward pass, correction is a part of its own.
"""

import argparse
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image

from benchmarks.measure import entry, seconds, write
from dclib.correction import correct
from dclib.distortions import additive_white_gaussian_noise, gaussian_blur
from dclib.experiments.imagenet import ALEXNET_FILTERS, ALEXNET_UNITS
from dclib.models import AlexNet
from dclib.restoration import deconvolve, denoise_bm3d
from dclib.training import keep_freed_memory

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=3, choices=range(1, len(PHOTOGRAPHS) + 1))
    options = parser.parse_args()
    keep_freed_memory()
    folder = Path(skimage.__file__).parent / "data"
    arrays = [np.asarray(Image.open(folder / name).convert("RGB").resize((227, 227))) for name in PHOTOGRAPHS]
    images = torch.from_numpy(np.stack(arrays[: options.images])).permute(0, 3, 1, 2).float()
    blurred = gaussian_blur(images, 4.0)
    noisy = additive_white_gaussian_noise(images, 40.0, torch.Generator().manual_seed(0))
    baseline = AlexNet().eval()
    filters = {layer: list(range(count)) for layer, count in ALEXNET_FILTERS.items()}
    corrected = correct(baseline, filters, ALEXNET_UNITS["Deepcorr-5"]).to(options.device)
    baseline, there = baseline.to(options.device), noisy.to(options.device)
    ways = {
        "Deepcorr-5, forward pass": (lambda: corrected(there), options.device, 5),
        "AlexNet, forward pass": (lambda: baseline(there), options.device, 5),
        "BM3D": (lambda: denoise_bm3d(noisy, 40.0), "cpu", 1),
        "Wiener deconvolution": (lambda: deconvolve(blurred, 4.0), "cpu", 3),
    }
    with torch.inference_mode():
        times = {name: seconds(work, device, repeats) for name, (work, device, repeats) in ways.items()}
    ours = sorted(times["Deepcorr-5, forward pass"])[2]
    entries = [
        entry(
            name,
            ts,
            len(images),
            "s/image",
            **({} if name.startswith("Deepcorr") else {"ratio": sorted(ts)[len(ts) // 2] / ours}),
        )
        for name, ts in times.items()
    ]
    write("restoration", entries, options.device, ("bm3d", "bm4d", "scikit-image"), images=len(images))


if __name__ == "__main__":
    main()
