"""Profiles with one choice made otherwise: as the paper's text has it, or with less training."""

from dataclasses import replace

from dclib.errors import InputError
from dclib.experiments.profiles import CONV, Profile
from dclib.training import Schedule

#: Where the paper's text and the released code differ, by the name of the choice; and one that only the code makes.
CHOICES = ("score", "ranking images", "filters", "unit width", "passes", "augmentation", "frozen BatchNorm", "untrained top")


def as_in_the_text(p: Profile, choice: str) -> Profile:
    """`p` with one choice made as the paper's text has it instead of as the released code has it.

    "frozen BatchNorm" keeps the statistics of frozen BatchNorms too, as Section 4.2 reads; released they follow the
    mini-batches. "untrained top" is the other way round: the released script of the baseline leaves conv7, conv8 and conv9
    at their initial draw. Whether the published baseline was made so is not known.
    """
    if choice == "score":
        return replace(p, score="priority")
    if choice == "ranking images":
        return replace(p, ranking_split="validation")
    if choice == "filters":
        return replace(p, narrow=p.width // 2, wide=p.width)
    if choice == "unit width":
        return replace(p, design=replace(p.design, width=None))
    if choice == "passes":
        return replace(p, finetune=shortened(p.finetune, 0.5), deepcorrect=shortened(p.deepcorrect, 0.5))
    if choice == "augmentation":
        other = "pad-crop-flip" if p.finetune.augmentation == "rotate-shift-flip" else "rotate-shift-flip"
        return replace(
            p, finetune=replace(p.finetune, augmentation=other), deepcorrect=replace(p.deepcorrect, augmentation=other)
        )
    if choice == "frozen BatchNorm":
        return replace(p, batch_statistics=False)
    if choice == "untrained top":
        return replace(p, baseline_layers=CONV[:6])
    raise InputError(f"choice: expected one of {', '.join(CHOICES)}, got {choice!r}.")


def shortened(schedule: Schedule, share: float) -> Schedule:
    """A complete schedule of the same shape with that share of the iterations."""

    def cut(iterations: int) -> int:
        return int(iterations * share)

    return replace(
        schedule,
        iterations=cut(schedule.iterations),
        warm_up=cut(schedule.warm_up),
        drops=tuple(map(cut, schedule.drops)),
        evaluate_every=max(1, cut(schedule.evaluate_every)),
    )


def with_budget(p: Profile, share: float) -> Profile:
    """`p` with retrainings of that share of the iterations, each with a complete schedule of its own."""
    if share == 1:
        return p
    return replace(p, finetune=shortened(p.finetune, share), deepcorrect=shortened(p.deepcorrect, share))
