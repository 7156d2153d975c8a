"""Training images per second of the main networks, with augmentation, distortion and update.

usage: python -m benchmarks.training [--device cpu] [--width 96] [--iterations 5] [--precision float32]
"""

import argparse

import torch

from benchmarks.measure import entry, seconds, write
from dclib.correction import correct
from dclib.datasets import Split
from dclib.distortions import levels
from dclib.engine import Engine, optimiser_for
from dclib.experiments import profile
from dclib.models import AllConvNet, trainable_copy
from dclib.training import _Batches, keep_freed_memory


def networks(width: int) -> dict:
    """Baseline, Finetune-k and Deepcorr-k of Tables 3 and 4."""
    model, layers = AllConvNet(width=width), AllConvNet.correctable
    design = profile("paper").design if width == 96 else profile("small").design
    half = {layer: list(range(model.get_submodule(layer).out_channels // 2)) for layer in layers}
    return {"Baseline": model, "Finetune-1": trainable_copy(model, layers[:1]),
            "Finetune-9": trainable_copy(model, [f"conv{i}" for i in range(1, 10)]),
            "Deepcorr-1": correct(model, {"conv1": half["conv1"]}, design), "Deepcorr-6": correct(model, half, design)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    keep_freed_memory()
    schedule = profile("small").deepcorrect
    data = Split(torch.randint(0, 256, (2000, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 100, (2000,)))
    batches = _Batches(data, schedule, 0, "blur", levels("cifar100", "blur"), torch.device(options.device))
    entries = []
    for name, model in networks(options.width).items():
        model = model.to(options.device).train()
        step = Engine(model, optimiser_for(model, schedule), schedule, options.precision)
        position = iter(range(10**9))

        def iterate():
            for _ in range(options.iterations):
                step(*batches.draw(next(position)), 0.01)

        times = seconds(iterate, options.device, repeats=5)
        images = options.iterations * schedule.batch_size
        entries.append(entry(name, times, images, "s/image", images_per_second=images / sorted(times)[len(times) // 2]))
        print(f"{name}: {entries[-1]['images_per_second']:.0f} images/s")
    write(f"training-width{options.width}-{options.precision}", entries, options.device)


if __name__ == "__main__":
    main()
