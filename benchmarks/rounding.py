"""Do processors make the same network? Training steps in two settings, with fingerprints to compare across machines.

usage: python -m benchmarks.rounding [--steps 4]

torch takes the widest instructions that a processor has, so sums are rounded in another order on another processor, and
after a few hundred steps a network answers otherwise: AlexNet's baseline of `small` came out with three accuracies on three
kinds of processors. "as it comes" is that. "the same instructions" tells torch, oneDNN and MKL by their own variables to
use what every x86-64 processor with AVX2 has. Each setting trains AlexNet on made-up images in a process of its own on one
thread. Where files of several processors agree on a fingerprint, that setting makes the same network on them.
"""

import argparse
import json
import os
import subprocess
import sys

import torch

from benchmarks.measure import entry, seconds, write
from dclib.models import AlexNet
from dclib.tensors import checksum

SETTINGS = {
    "as it comes": {},
    "the same instructions": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"},
}
IMAGES = 32


def steps(count: int) -> dict:
    """The seconds of `count` steps, and fingerprints of the network before and after them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = AlexNet().train()
    images, labels = torch.rand(IMAGES, 3, 227, 227) * 255, torch.randint(0, 20, (IMAGES,))
    optimizer = torch.optim.SGD(network.parameters(), 1e-4, momentum=0.9)
    before = fingerprint(network)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    times = seconds(step, repeats=count, warm_up=False)
    return {"seconds": times, "before": before, "after": fingerprint(network)}


def fingerprint(network: torch.nn.Module) -> str:
    """The first digits of a checksum of all parameters, which differs with the last bit of any."""
    return checksum(network.state_dict())[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(steps(options.steps)))
        return
    entries = []
    for name, variables in SETTINGS.items():
        command = [sys.executable, "-m", "benchmarks.rounding", "--alone", "--steps", str(options.steps)]
        found = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True)
        made = json.loads(found.stdout)
        entries.append(
            entry(name, made["seconds"], 1, "s/step", variables=variables, before=made["before"], after=made["after"])
        )
    capability = torch.backends.cpu.get_cpu_capability()
    # One processor's name stands for several kinds: of two AMD EPYC only one had AVX-512.
    path = write(f"rounding-{capability.lower()}", entries, "cpu", images=IMAGES, steps=options.steps)
    for e in entries:
        print(f"{e['name']}: {e['before']} became {e['after']}")
    print(f"Compare them with those of other processors beside {path.name}.")


if __name__ == "__main__":
    main()
