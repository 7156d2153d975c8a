"""Which peak rate each way of the neighbouring studies learns best with, by held-out training images alone.

usage: python -m benchmarks.neighbour_rates [--share 0.5] [--family NAME]

Every family tries equally many rates, each about three times the one before, with equal images and the schedule of its runs
cut to `share` of its iterations. No test image is seen. What the file holds at the same share is kept.
"""

import argparse
import json
from dataclasses import replace

import torch

from benchmarks.measure import FOLDER, file_name
from dclib.execution import obtain
from dclib.execution.checkpoint import Parts
from dclib.execution.environment import environment
from dclib.execution.inputs import gather
from dclib.execution.makers import train_network
from dclib.experiments import Run, neighbours, profile, shortened
from dclib.results import Store
from dclib.training import Diverged


def tried(run: Run, rate: float, share: float, store: Store) -> float | None:
    """The validation accuracy at the end of a short training, mean over levels; None where it diverged."""
    schedule = replace(shortened(run.schedule, share), learning_rate=rate)
    trial = replace(run, schedule=replace(schedule, evaluate_every=schedule.iterations), test_images=1)
    for needed in trial.needs:
        obtain(needed, store)
    parts = Parts(trial, store.checkpoint(trial))
    try:
        return train_network(trial, gather(trial, store), torch.device("cpu"), parts).best_accuracy
    except Diverged:
        return None
    finally:
        store.checkpoint(trial).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--family")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path, store = FOLDER / file_name("neighbour-rates", environment()), Store()
    content = json.loads(path.read_text()) if path.exists() else {}
    found = content["families"] if content.get("share_of_iterations") == options.share else {}
    for family, (rates, run) in neighbours.families(profile("small")).items():
        for rate in rates if options.family in (None, family) else ():
            name = f"peak {rate:g}"
            if name not in found.setdefault(family, {}):
                found[family][name] = tried(run, rate, options.share, store)
                path.write_text(
                    json.dumps(
                        {
                            "suite": "neighbour-rates",
                            "families": found,
                            "environment": environment(),
                            "share_of_iterations": options.share,
                        },
                        indent=1,
                    )
                    + "\n"
                )
            print(f"{family}, {name}: {found[family][name]}", flush=True)


if __name__ == "__main__":
    main()
