"""How the networks behind a table, figure or page were trained, in words: from descriptions of runs and their records."""

from collections.abc import Iterable

import numpy as np

from dclib import paper
from dclib.experiments import Run, profile
from dclib.results import Store

#: Training images of data sets that are no photographs, where a pass over the data is a length that a reader knows.
TRAINING_IMAGES = {"cifar100": 45_000}


def training(runs: Iterable[Run], store: Store) -> str:
    """Lengths and augmentation of the trainings behind `runs`, and how good their baselines are; empty without training.

    Lengths are passes over the training images, for AlexNet images seen and their share of the paper's. The clean accuracy
    comes from the records of the baselines and is left out while there is none.
    """
    trained = _trained(runs)
    baselines = [run for run in trained if run.base is None and not run.from_published]
    others = [run for run in trained if run not in baselines]
    said = []
    if baselines:
        said.append("baseline " + ", ".join(filter(None, (_length(baselines), _clean(baselines, store)))))
    if others:
        said.append(f"each {'other' if baselines else 'retrained'} network {_length(others)}{_share(others)}")
    if trained:
        said.append(_augmentation(trained))
    return "; ".join(said)


def _trained(runs: Iterable[Run]) -> list[Run]:
    """All trainings among `runs` and what they start from, each once."""
    found: dict[str, Run] = {}
    waiting = list(runs)
    while waiting:
        run = waiting.pop(0)
        if run.kind == "train":
            found[run.id] = run
        waiting += run.needs
    return list(found.values())


def _seen(run: Run) -> int:
    return run.schedule.iterations * run.schedule.batch_size


def _length(runs: list[Run]) -> str:
    """Passes over the training images, or images seen, of the shortest and the longest of these trainings."""
    first = runs[0]
    size = first.photographs[0] * first.classes if first.photographs else TRAINING_IMAGES.get(first.dataset)
    lengths = sorted({_seen(run) for run in runs})
    if size is None:
        return f"{_range(f'{n:,}' for n in lengths)} images seen"
    return f"{_range(f'{n / size:.1f}' for n in lengths)} passes over {size:,} training images"


def _range(words: Iterable[str]) -> str:
    words = list(dict.fromkeys(words))
    return words[0] if len(words) == 1 else f"{words[0]} to {words[-1]}"


def _clean(baselines: list[Run], store: Store) -> str:
    """Accuracy of the baselines on clean test images, mean over those that are recorded."""
    found = [record.accuracy[0] for run in baselines if (record := store.get(run))]
    if not found:
        return ""
    dataset = baselines[0].dataset
    printed = [row["accuracy"][0] for row in paper.table(1)["rows"] if row["dataset"] == dataset]
    return f"clean accuracy {np.mean(found):.3f}" + (f" (the paper's {printed[0]:.4f})" if printed else "")


def _share(others: list[Run]) -> str:
    """What an AlexNet saw as a share of what the paper's did in all, and before the first point of its Figure 12."""
    if others[0].network != "AlexNet":
        return ""
    whole = profile("paper").imagenet.finetune
    most = max(_seen(run) for run in others)
    of_all = most / (whole.iterations * whole.batch_size)
    if of_all >= 1:
        return ""
    of_first = most / (paper.training_data()["step"] * whole.batch_size)
    return (
        f", {100 * of_all:.2g} % of the paper's and {100 * of_first:.2g} % of those before the first point of its Figure 12"
    )


def _augmentation(trained: list[Run]) -> str:
    """Which augmentation, and for the paper's networks the paper's where it is another one."""
    own = sorted({run.schedule.augmentation for run in trained})
    if trained[0].network not in ("AllConvNet", "AlexNet"):
        return f"augmentation {' and '.join(own)}"
    whole = profile("paper").imagenet if trained[0].network == "AlexNet" else profile("paper")
    released = {whole.baseline.augmentation, whole.finetune.augmentation}
    return f"augmentation {' and '.join(own)}" + (
        "" if set(own) <= released else f", released {' and '.join(sorted(released))}"
    )
