"""Does bfloat16 cost accuracy? The same networks, data and seeds in float32 and in bfloat16.

usage: python -m benchmarks.precision [--device cpu] [--profile miniature] [--seeds 0 1 2]

Trains Baseline, Finetune-1 and Deepcorr-1 under blur in both precisions. Says for each the difference of the mean
accuracies over levels and, as a yardstick, the standard deviation between seeds in float32.
"""

import argparse
import tempfile
from dataclasses import replace

import numpy as np

from benchmarks.measure import write
from dclib.execution import obtain
from dclib.experiments import method_run, profile
from dclib.results import Store

METHODS = ("Baseline", "Finetune-1", "Deepcorr-1")


def accuracies(name: str, precision: str, seeds: list[int], device: str) -> dict[str, list[float]]:
    """Mean accuracy over levels per method, one value per seed; the ranking's choice of filters included."""
    p = replace(profile(name), precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        return {
            method: [
                float(obtain(method_run(p, method, "blur", seed), store, device=device).accuracy.mean()) for seed in seeds
            ]
            for method in METHODS
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", default="miniature")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    full, half = (
        accuracies(options.profile, precision, options.seeds, options.device) for precision in ("float32", "bfloat16")
    )
    entries = []
    for method in METHODS:
        differences = np.subtract(half[method], full[method])
        entries.append(
            {
                "name": f"{method}, bfloat16 minus float32",
                "unit": "accuracy",
                "median": float(np.median(differences)),
                "lowest": float(differences.min()),
                "highest": float(differences.max()),
                "repeats": len(options.seeds),
                "float32": full[method],
                "bfloat16": half[method],
                "between_seeds": float(np.std(full[method], ddof=1)),
            }
        )
    write("precision", entries, options.device, profile=options.profile, seeds=options.seeds)
    for e in entries:
        print(f"{e['name']}: standard deviation between seeds {e['between_seeds']:.4f}")


if __name__ == "__main__":
    main()
