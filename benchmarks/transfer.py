"""Linear SVMs of all classes at once against scikit-learn's LinearSVC: the same rows, the same C.

usage: python -m benchmarks.transfer [--device cpu] [--classes 100] [--features 4096] [--repeats 3]
25 training rows a class, made to look like the dense layer of AlexNet: not negative, half of them zero, with a few broad
directions that all classes share. The costs are the candidates of Section 5.3's protocol. Accuracy is on 10 other rows a
class; where the two differ, LinearSVC has stopped before its optimum. Ratios above 1 mean that dclib is faster.
"""

import argparse
import time
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from benchmarks.measure import entry, seconds, write
from dclib.training import keep_freed_memory
from dclib.transfer import COSTS
from dclib.transfer.svm import fit_svm


def rows(classes: int, width: int, per_class: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features [N, width] and labels [N]; equal classes have equal centres whatever the seed."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    fixed = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, width, generator=fixed)
    shared = torch.randn(20, width, generator=fixed)
    own = torch.Generator().manual_seed(seed)
    common = torch.randn(len(labels), 20, generator=own) @ shared / 20**0.5
    noise = torch.randn(len(labels), width, generator=own)
    return torch.relu(0.35 * centres[labels] + common + 2 * noise), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--classes", 100), ("--features", 4096), ("--repeats", 3)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()
    warnings.simplefilter("ignore", ConvergenceWarning)  # its accuracy stands in the file
    features, labels = rows(options.classes, options.features, 25, seed=1)
    others, truth = rows(options.classes, options.features, 10, seed=2)
    there, arrays = features.to(options.device), features.double().numpy()
    scale, entries = features.double().square().sum(1).mean().item(), []
    for cost in COSTS:
        results = {}

        def ours():
            results["dclib"] = fit_svm(there, labels.to(options.device), cost / scale)

        def theirs():
            results["LinearSVC"] = LinearSVC(C=cost / scale).fit(arrays, labels.numpy())

        start = time.perf_counter()
        theirs()  # once: it takes minutes, and nothing of it is compiled or kept
        once = time.perf_counter() - start
        times = {"dclib": seconds(ours, options.device, options.repeats), "LinearSVC": [once]}
        predicted = {
            "dclib": results["dclib"].predict(others.to(options.device)).cpu(),
            "LinearSVC": torch.from_numpy(results["LinearSVC"].predict(others.double().numpy())),
        }
        middle = sorted(times["dclib"])[len(times["dclib"]) // 2]
        for name, ts in times.items():
            same = (predicted[name] == predicted["dclib"]).double().mean().item()
            compared = {} if name == "dclib" else {"ratio": once / middle, "equal_predictions": same}
            entries.append(
                entry(
                    f"cost {cost:g}: {name}",
                    ts,
                    1,
                    "s",
                    accuracy=(predicted[name] == truth).double().mean().item(),
                    **compared,
                )
            )
    write(
        "transfer",
        entries,
        options.device,
        ("scikit-learn",),
        rows=len(labels),
        columns=options.features,
        classes=options.classes,
    )


if __name__ == "__main__":
    main()
