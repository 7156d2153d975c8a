"""The claims of the study of an image-quality gate (Feng et al., 2020), and its record, read."""

from dataclasses import dataclass

import numpy as np

from dclib.neighbours import ADVERSARIES, detection, false_alarm_threshold
from dclib.results import Record, Store, unpack_bits, unpack_filters
from dclib.statistics import Interval, bootstrap_interval, percentile_interval, resample_means
from dclib.verdicts.finding import Outcome, at_least, difference
from dclib.verdicts.neighbouring import MOST, Judge, between, least, record_of

#: False alarms on sharp images that a gate may raise, and the detector that is the gate.
ALARMS, DETECTOR = 0.05, "both"


@dataclass(frozen=True)
class Gate:
    """A gate's record, read: bits and scores [conditions, images], and scores of sharp images that set thresholds."""

    conditions: tuple[str, ...]
    seen: tuple[str, ...]
    egregious: np.ndarray
    wrong: np.ndarray
    scores: dict[str, np.ndarray]
    sharp: dict[str, np.ndarray]
    seconds: dict[str, float]

    @classmethod
    def of(cls, record: Record) -> "Gate":
        outcome, said = record.outcome, record.description
        return cls(
            tuple(said["conditions"]),
            tuple(said["learned_from"]),
            unpack_bits(outcome["egregious"]),
            unpack_bits(outcome["wrong"]),
            {k: unpack_filters(v) for k, v in outcome["scores"].items()},
            {k: unpack_filters(v) for k, v in outcome["calibration"].items()},
            record.cost["seconds_per_image"],
        )

    def refused(self, detector: str = DETECTOR) -> np.ndarray:
        """Which images [C, N] do not pass at the threshold that refuses one in twenty sharp images set aside for it."""
        return self.scores[detector] > false_alarm_threshold(self.sharp[detector], ALARMS)

    def rows(self, kind: str) -> list[int]:
        """The places of the conditions of one kind: "sharp", "distorted" or "adversarial", seen or unseen."""

        def of(name: str) -> str:
            hostile = name.split()[0] in ADVERSARIES
            return (
                "sharp"
                if name == "sharp"
                else ("seen " if name in self.seen else "unseen ") + ("adversarial" if hostile else "distorted")
            )

        return [i for i, name in enumerate(self.conditions) if kind in (of(name), of(name).split()[-1])]

    def area(self, detector: str, rows: list[int], *, egregious: bool = False) -> Interval:
        """Area under the curve: these conditions against sharp images, or egregious errors against other answers."""
        sharp = self.rows("sharp")

        def found(columns: np.ndarray) -> float:
            chosen = rows if egregious else [*sharp, *rows]
            scores = self.scores[detector][chosen][:, columns]
            bad = (
                self.egregious[chosen][:, columns]
                if egregious
                else np.repeat(np.arange(len(chosen))[:, None] >= len(sharp), len(columns), 1)
            )
            return detection(scores, bad).area

        images, rng = self.egregious.shape[1], np.random.default_rng(0)
        low, high = percentile_interval([found(rng.integers(images, size=images)) for _ in range(200)])
        return Interval(found(np.arange(images)), low, high)


def gate(store: Store) -> Gate:
    """The gate that is shown. Raises `NotRun`."""
    return Gate.of(record_of("gate", "Gate", store))


def share_refused(found: Gate, rows: list[int], detector: str = DETECTOR, *, egregious: bool = False) -> Interval:
    """The share of these conditions' images that do not pass, or of their egregious errors; over images."""
    refused, counted = found.refused(detector)[rows], found.egregious[rows] if egregious else None
    if counted is None:
        return bootstrap_interval(refused)
    means = resample_means(np.stack([(refused & counted).sum(0), counted.sum(0)]))
    return Interval(float((refused & counted).sum() / counted.sum()), *percentile_interval(means[:, 0] / means[:, 1]))


def _vulnerable(store: Store) -> tuple[Outcome, str]:
    found, outcomes, words = gate(store), [], []
    right = ~found.wrong
    for kind in ("distorted", "adversarial"):
        rows = found.rows(kind)
        lost = bootstrap_interval(np.repeat(right[found.rows("sharp")], len(rows), 0), right[rows])
        outcomes.append(difference(between(lost, trained=False)))
        words.append(f"{kind} images lose {lost.estimate:.3f} ({lost.low:.3f} to {lost.high:.3f}) of top-1 accuracy")
    return least(outcomes), "; ".join(words)


def _link(store: Store) -> tuple[Outcome, str]:
    found = gate(store)
    area = found.area("quality", found.rows("unseen adversarial"))
    return difference(between(area), null=0.5), (
        f"natural scene statistics alone tell unseen adversarial images from sharp ones with an area of {area.estimate:.3f} "
        f"({area.low:.3f} to {area.high:.3f}); chance is 0.5"
    )


def _refuses(kinds: dict[str, str], *, egregious: bool = False) -> Judge:
    """A claim that at least half of each kind of images is refused: {words: kind}."""

    def judge(store: Store) -> tuple[Outcome, str]:
        found, outcomes, words = gate(store), [], []
        for name, kind in kinds.items():
            rows = list(range(len(found.conditions))) if kind == "all" else found.rows(kind)
            share = share_refused(found, rows, egregious=egregious)
            outcomes.append(at_least(between(share), MOST))
            words.append(f"{share.estimate:.0%} ({share.low:.0%} to {share.high:.0%}) of {name}")
        alarms = found.refused()[found.rows("sharp")].mean()
        said = f"refused are {', '.join(words)}, and {alarms:.0%} of sharp images"
        if egregious:
            area = found.area(DETECTOR, list(range(len(found.conditions))), egregious=True)
            said += (
                f"; but from all other answers, degraded images among them, it tells them with an area of "
                f"{area.estimate:.3f} ({area.low:.3f} to {area.high:.3f})"
            )
        return least(outcomes), said

    return judge


def _untrained(store: Store) -> tuple[Outcome, str]:
    gate(store)
    return Outcome.HOLDS, "the network before and behind the gate has the published weights, by their SHA-256"


KINDS: dict[str, Judge] = {
    "gate-vulnerable": _vulnerable,
    "gate-link": _link,
    "gate-untrained": _untrained,
    "gate-egregious": _refuses({"egregious errors under all conditions": "all"}, egregious=True),
    "gate-poor": _refuses(
        {"images under distortions that it learnt from": "seen distorted", "images under others": "unseen distorted"}
    ),
    "gate-adversarial": _refuses({"adversarial images": "adversarial", "those of unseen attacks": "unseen adversarial"}),
}
