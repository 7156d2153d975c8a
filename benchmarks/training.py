"""Training images per second of the main networks, with augmentation, distortion and update.

usage: python -m benchmarks.training [--device cpu] [--width 96] [--iterations 5] [--precision float32]

`of_matrix_rate` is the share of the machine's own rate for one large matrix product in the same precision: operations
of forward and backward pass, as torch counts them, per second of the whole iteration.
"""

import argparse

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

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


def operations(model: torch.nn.Module, device: str, count: int = 8) -> float:
    """Floating-point operations per image of one forward and backward pass."""
    images, labels = torch.rand(count, 3, 32, 32, device=device) * 255, torch.zeros(count, dtype=int, device=device)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(images), labels).backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / count


def matrix_rate(device: str, precision: str) -> float:
    """Floating-point operations per second of one large matrix product."""
    size = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.rand(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device, repeats=5))


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
    entries, limit = [], matrix_rate(options.device, options.precision)
    for name, model in networks(options.width).items():
        model = model.to(options.device).train()
        per_image = operations(model, options.device)
        step = Engine(model, optimiser_for(model, schedule), schedule, options.precision)
        position = iter(range(10**9))

        def iterate():
            for _ in range(options.iterations):
                step(*batches.draw(next(position)), 0.01)

        times = seconds(iterate, options.device, repeats=5)
        images = options.iterations * schedule.batch_size
        rate = images / sorted(times)[len(times) // 2]
        entries.append(entry(name, times, images, "s/image", images_per_second=rate, operations_per_image=per_image,
                             of_matrix_rate=rate * per_image / limit))
        print(f"{name}: {rate:.0f} images/s, {rate * per_image / limit:.0%} of the matrix rate")
    write(f"training-width{options.width}-{options.precision}", entries, options.device, matrix_operations_per_second=limit)


if __name__ == "__main__":
    main()
