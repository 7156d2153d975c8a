"""Do processors make the same network? One training with the newest and with the oldest instructions, in both precisions.

usage: python -m benchmarks.rounding [--iterations 400] [--width 16]

torch takes the widest instructions that a processor has, so sums are rounded in another order on another processor, and
some hundred iterations in single precision make another network of that: AlexNet's baseline of `small` came out with three
accuracies on three kinds of processors. Here one processor plays two: "oldest" tells torch, oneDNN and MKL by their own
variables to use what every x86-64 processor has. Both trainings begin with the same weights and see the same made-up images.
Published are how far the weights of the two networks of one precision are apart, and how many answers differ.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from benchmarks.measure import entry, write
from dclib.datasets import Split
from dclib.models import AllConvNet
from dclib.training import Schedule, train

OLDEST = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
INSTRUCTIONS = {"newest": {}, "oldest": OLDEST}
IMAGES, TESTED, CLASSES = 1000, 1000, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--alone", nargs=3, metavar=("PRECISION", "START", "END"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = AllConvNet(CLASSES, width=options.width)
    if options.alone:
        precision, start, end = options.alone
        model.load_state_dict(load_file(start))
        save_file(trained(model, precision, options.iterations), end)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_file(model.state_dict(), Path(folder) / "start")
        made = {
            (precision, name): _trained_apart(precision, name, variables, options, Path(folder))
            for precision in ("float32", "float64")
            for name, variables in INSTRUCTIONS.items()
        }
    entries = []
    for precision in ("float32", "float64"):
        newest, oldest = (made[precision, name] for name in INSTRUCTIONS)
        distance = apart(newest, oldest)
        answers = int((newest["answers"] != oldest["answers"]).sum())
        times = [newest["seconds"].item()]
        entries.append(
            entry(
                f"{precision}, newest instructions",
                times,
                options.iterations,
                "s/iteration",
                apart=distance,
                answers=answers,
            )
        )
        print(f"{precision}: weights apart by {distance:.1e} of their size, {answers} of {TESTED} answers differ.")
    capability = torch.backends.cpu.get_cpu_capability()
    # One processor's name stands for several kinds: of two AMD EPYC only one had AVX-512.
    write(f"rounding-{capability.lower()}", entries, "cpu", oldest=OLDEST, iterations=options.iterations, images=IMAGES)


def trained(model: AllConvNet, precision: str, iterations: int) -> dict[str, torch.Tensor]:
    """The weights after a training in `precision`, the answers of that network to other images, and the seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    # Classes that can be told apart, but not easily: a pattern of each beneath noise.
    patterns = torch.rand(CLASSES, 3, 32, 32) * 60
    images = (patterns[labels] + torch.rand(IMAGES, 3, 32, 32) * 195).byte()
    schedule = Schedule(iterations, 50, 0.05, (), iterations, shape="one-cycle", warm_up=iterations // 6)
    progress = train(model, Split(images, labels), Split(images[:50], labels[:50]), schedule, seed=0, precision=precision)
    with torch.inference_mode():
        answers = model((torch.rand(TESTED, 3, 32, 32) * 255).byte().float()).argmax(1)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    return weights | {"answers": answers, "seconds": torch.tensor(progress.seconds)}


def _trained_apart(
    precision: str, name: str, variables: dict[str, str], options: argparse.Namespace, folder: Path
) -> dict[str, torch.Tensor]:
    end = folder / f"{precision} {name}"
    sizes = ["--iterations", str(options.iterations), "--width", str(options.width)]
    command = [sys.executable, "-m", "benchmarks.rounding", "--alone", precision, folder / "start", end, *sizes]
    subprocess.run(command, env=os.environ | variables, check=True)
    return load_file(end)


def apart(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """The largest difference of two networks' weights, layer by layer, over that layer's largest weight."""
    names = [name for name in first if name.endswith("weight")]
    return max(((first[n] - second[n]).abs().max() / first[n].abs().max()).item() for n in names)


if __name__ == "__main__":
    main()
