"""The neighbouring studies as Markdown: their verdicts, and what their records say, or that they are not run yet."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np

from dclib import figures, paper
from dclib.experiments import neighbours, profile, trained_parameters
from dclib.neighbours import detection
from dclib.results import Record, Store, unpack_bits
from dclib.statistics import bootstrap_interval
from dclib.tables.accuracy import NOT_RUN
from dclib.tables.claims import signed
from dclib.verdicts import blur_claims, filter_claims, gate_claims
from dclib.verdicts.neighbouring import NotRun, record_of, shown
from dclib.verdicts.neighbours import judged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The detectors of a gate, in words.
DETECTORS = {"both": "gate", "quality": "statistics", "student": "student", "confidence": "own confidence"}


def or_not_run(make: Callable[..., str]) -> Callable[..., str]:
    """What `make` gives, or the sentence that its runs are not there, with their command."""

    @wraps(make)
    def made(store: Store) -> str:
        try:
            return make(store)
        except NotRun as lacking:
            return f"*{NOT_RUN.capitalize()}*: `dclib run {lacking} --profile small`."

    return made


def verdicts(work: str, store: Store) -> str:
    """The verdict on each claim of a neighbouring work, by its key in the bibliography."""
    lines = [f"| {found.claim} | {signed(found.outcome)} | {found.words} |" for found in judged(work, store)]
    heads = [f"Claims by {paper.neighbours()[work]['source']}:", "", "| claim | verdict | here |", "|---|---|---|"]
    return "\n".join(heads + lines)


#: What is said of each condition, by target.
CONDITION_COLUMNS = {
    "gate": ("top-1", "egregious", "refused"),
    "blur_deconvolution": ("blurred", "wiener", "richardson-lucy"),
}


def by_condition(target: str, record: Record) -> dict[str, list[float]]:
    """{condition: numbers in 0..1}, as `CONDITION_COLUMNS` names them."""
    if target == "gate":
        found = gate_claims.Gate.of(record)
        values = [1 - found.wrong.mean(1), found.egregious.mean(1), found.refused().mean(1)]
    else:
        values = [unpack_bits(record.outcome["correct"][way]).mean(1) for way in CONDITION_COLUMNS[target]]
    return {name: [float(value[i]) for value in values] for i, name in enumerate(record.description["conditions"])}


@or_not_run
def gate_conditions(store: Store) -> str:
    """Each condition: how the network fares, what the gate refuses, and how well detectors tell it from sharp images."""
    found = gate_claims.gate(store)
    refused = found.refused()
    lines = [
        "| condition | the gate learnt from it | top-1 | egregious | refused | "
        + " | ".join(f"area, {words}" for words in DETECTORS.values())
        + " |",
        "|---|---|---:|---:|---:|" + "---:|" * len(DETECTORS),
    ]
    for i, name in enumerate(found.conditions):
        areas = ["–"] * len(DETECTORS) if name == "sharp" else [f"{found.area(d, [i]).estimate:.3f}" for d in DETECTORS]
        lines.append(
            f"| {name} | {'yes' if name in found.seen else 'no'} | {1 - found.wrong[i].mean():.3f} | "
            f"{found.egregious[i].mean():.3f} | {refused[i].mean():.3f} | {' | '.join(areas)} |"
        )
    return "\n".join(lines)


@or_not_run
def gate_detectors(store: Store) -> str:
    """How well each detector finds egregious errors, overall and where it learnt from nothing like it; and its cost."""
    found = gate_claims.gate(store)
    every, unseen = list(range(len(found.conditions))), found.rows("unseen distorted") + found.rows("unseen adversarial")
    seconds = found.seconds | {"both": found.seconds["quality"] + found.seconds["student"], "confidence": 0.0}
    lines = [
        "| detector | area, all conditions | area, unseen ones | egregious errors refused | false alarms | ms |",
        "|---|---|---|---:|---:|---:|",
    ]
    for detector, words in DETECTORS.items():
        areas = [found.area(detector, rows, egregious=True) for rows in (every, unseen)]
        share = gate_claims.share_refused(found, every, detector, egregious=True).estimate
        alarms = found.refused(detector)[found.rows("sharp")].mean()
        lines.append(
            f"| {words} | "
            + " | ".join(f"{a.estimate:.3f} ({a.low:.3f} to {a.high:.3f})" for a in areas)
            + f" | {share:.0%} | {alarms:.0%} | {1000 * seconds[detector]:.1f} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"Milliseconds are those of one image; the network takes "
            f"{1000 * found.seconds['network']:.1f}. False alarms are sharp images of the test; thresholds were "
            f"set for {gate_claims.ALARMS:.0%} of others.",
        ]
    )


@or_not_run
def passing(store: Store) -> str:
    """The limits of the gate: conditions that it never learnt from and lets pass although the network errs."""
    found = gate_claims.gate(store)
    refused = found.refused()
    unseen = [i for i, name in enumerate(found.conditions) if name not in found.seen and found.egregious[i].any()]
    through = {found.conditions[i]: 1 - refused[i][found.egregious[i]].mean() for i in unseen}
    worst = sorted(through, key=through.get, reverse=True)[:4]
    return (
        "Of the egregious errors under conditions that it never learnt from, most pass under "
        + ", ".join(f"{name} ({through[name]:.0%})" for name in worst)
        + "."
    )


@or_not_run
def published_blurs(store: Store) -> str:
    """The published network under each blur: top-1, top-5, confidence and entropy at both sizes."""
    records = {side: record_of("blur_published", f"{side} pixels", store) for side in neighbours.SIDES}
    lines = [
        "| blur at 256 pixels | "
        + " | ".join(f"{what}, {side}" for side in records for what in ("top-5", "top-1", "confidence", "entropy"))
        + " |",
        "|---|" + "---:|" * 4 * len(records),
    ]
    for i, name in enumerate(neighbours.PUBLISHED_BLURS):
        cells = [
            f"{unpack_bits(said['among_five'])[i].mean():.3f} | {unpack_bits(said['correct'])[i].mean():.3f} | "
            f"{said['confidence'][i]:.3f} | {said['entropy'][i]:.2f}"
            for said in (r.outcome for r in records.values())
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{records[128].outcome['images']} images; entropy in nats."])


def cross_blur(store: Store) -> tuple[np.ndarray, list[str], list[str]]:
    """Accuracy [tuned on, tested on], and the names of both. Raises `NotRun`."""
    tuned = [neighbours.NOT_TUNED, neighbours.SHARP, *neighbours.TUNED_ON, neighbours.MIX]
    tested = {"sharp": [0]} | {kind: blur_claims.under(kind) for kind in neighbours.TESTED_ON}
    values = [[blur_claims.tuning(store, on).hits[rows].mean() for rows in tested.values()] for on in tuned]
    return np.array(values), tuned, list(tested)


@or_not_run
def tuned_answers(store: Store) -> str:
    """Confidence and entropy of each network's answers, sharp and under all blurs."""
    lines = ["| tuned on | confidence, sharp | under blur | entropy, sharp | under blur |", "|---|---:|---:|---:|---:|"]
    for on in (neighbours.NOT_TUNED, neighbours.SHARP, *neighbours.TUNED_ON, neighbours.MIX):
        outcome = blur_claims.tuning(store, on).outcome
        cells = [
            f"{part:{form}}"
            for key, form in (("confidence", ".3f"), ("entropy", ".2f"))
            for part in (outcome[key][0], np.mean(outcome[key][1:]))
        ]
        lines.append(f"| {on} | {' | '.join(cells)} |")
    return "\n".join(lines)


@or_not_run
def deconvolved(store: Store) -> str:
    """Accuracy by kind of blur as it is, restored, and by the network tuned on the mix; and the time of each."""
    record = record_of("blur_deconvolution", "Deconvolution", store)
    bits = {way: unpack_bits(packed) for way, packed in record.outcome["correct"].items()}
    bits["tuned on the mix"] = blur_claims.tuning(store, neighbours.MIX).hits[1:]
    seconds, strengths = record.cost["seconds_per_image"], record.outcome["strengths"]
    lines = [
        "| before the network | " + " | ".join(neighbours.TESTED_ON) + " | all | ms an image |",
        "|---|" + "---:|" * (len(neighbours.TESTED_ON) + 2),
    ]
    for way, found in bits.items():
        cells = [found[[row - 1 for row in blur_claims.under(kind)]].mean() for kind in neighbours.TESTED_ON]
        taken = f"{1000 * seconds[way]:.2f}" if way in seconds else "0"
        named = f"{way} ({strengths[way]:g})" if way in strengths else way
        lines.append(f"| {named} | {' | '.join(f'{c:.3f}' for c in (*cells, found.mean()))} | {taken} |")
    return "\n".join(
        [
            *lines,
            "",
            f"The network itself takes {1000 * seconds['network']:.2f} ms an image. In brackets the "
            "strength that did best on held-out training images.",
        ]
    )


@or_not_run
def selected(store: Store) -> str:
    """Accuracy, averaged over clean images and three levels, after each way of retraining on so many images."""
    heads = [
        f"{network}, {distortion}, {100 * samples:,}"
        for network, distortion in filter_claims.CONDITIONS
        for samples in neighbours.SAMPLES
    ]
    lines = ["| trained | parameters | " + " | ".join(heads) + " |", "|---|---:|" + "---:|" * len(heads)]
    before = [filter_claims.selected(store, *condition).hits.mean() for condition in filter_claims.CONDITIONS]
    lines.append("| nothing | 0 | " + " | ".join(f"{b:.3f}" for b in np.repeat(before, len(neighbours.SAMPLES))) + " |")
    for way in neighbours.WAYS:
        counts = [
            trained_parameters(neighbours.retrained(profile("small"), network, "blur", way, 1))
            for network in neighbours.NETWORKS
        ]
        cells = [
            filter_claims.selected(store, *condition, way, 100 * samples).hits.mean()
            for condition in filter_claims.CONDITIONS
            for samples in neighbours.SAMPLES
        ]
        lines.append(f"| {way} | {' and '.join(f'{c:,}' for c in counts)} | {' | '.join(f'{c:.3f}' for c in cells)} |")
    return "\n".join(lines)


def or_none(make: "Callable[..., list[Figure]]") -> "Callable[..., list[Figure]]":
    """What `make` draws; nothing while its runs are not there."""

    @wraps(make)
    def made(store: Store) -> "list[Figure]":
        try:
            return make(store)
        except NotRun:
            return []

    return made


@or_none
def gate_curves(store: Store) -> "list[Figure]":
    """ROC curves of each detector: egregious errors under all conditions; adversarial images against sharp ones."""
    found = gate_claims.gate(store)
    every, attacks = range(len(found.conditions)), [*found.rows("sharp"), *found.rows("unseen adversarial")]
    hostile = np.repeat(np.array(attacks)[:, None] != found.rows("sharp")[0], found.wrong.shape[1], 1)

    def curves(rows: list[int], bad: np.ndarray) -> dict[str, tuple]:
        made = {words: detection(found.scores[d][list(rows)], bad) for d, words in DETECTORS.items()}
        return {words: (one.false_alarms, one.detected, one.area) for words, one in made.items()}

    return [
        figures.roc(curves(every, found.egregious), "egregious errors, all conditions"),
        figures.roc(curves(attacks, hostile), "attacks that it never saw, and sharp"),
    ]


@or_none
def cross_blur_matrix(store: Store) -> "list[Figure]":
    """The whole matrix of what networks were tuned on and are tested on."""
    values, tuned, tested = cross_blur(store)
    return [figures.matrix(values, tuned, tested, "CIFAR-100, profile small")]


@or_none
def moved(store: Store) -> "list[Figure]":
    """How far blur moves the activations of each layer, in each network."""
    curves = {}
    for on in (neighbours.NOT_TUNED, neighbours.SHARP, *neighbours.TUNED_ON, neighbours.MIX):
        found = blur_claims.tuning(store, on).outcome["moved"]
        curves[f"tuned on {on}" if on != neighbours.NOT_TUNED else on] = [np.mean(row[1:]) for row in found.values()]
    return [figures.over_layers(curves, list(found), "CIFAR-100, all blurs")]


@or_none
def few_samples(store: Store) -> "list[Figure]":
    """Accuracy over the number of training images, one panel per network and distortion."""
    numbers, drawn = [100 * samples for samples in neighbours.SAMPLES], []
    for condition in filter_claims.CONDITIONS:
        curves = {
            way: [filter_claims.selected(store, *condition, way, n).hits.mean() for n in numbers] for way in neighbours.WAYS
        }
        before = filter_claims.selected(store, *condition).hits.mean()
        drawn.append(figures.over_images(curves, numbers, f"{condition[0]}, {figures.NAMES[condition[1]]}", before))
    return drawn


@or_none
def pace(store: Store) -> "list[Figure]":
    """Validation accuracy over the iterations of a retraining on 5,000 images, one panel per network and distortion."""
    drawn = []
    for network, distortion in filter_claims.CONDITIONS:
        curves = {
            way: filter_claims.selected(store, network, distortion, way, 100 * neighbours.SAMPLES[-1]).outcome["curve"]
            for way in neighbours.WAYS
        }
        iterations = [look["iteration"] for look in next(iter(curves.values()))]
        means = {way: [float(np.mean(look["validation"])) for look in curve] for way, curve in curves.items()}
        drawn.append(figures.training_curves(iterations, means, f"{network}, {figures.NAMES[distortion]}"))
    return drawn


@or_not_run
def elected_against(store: Store) -> str:
    """By how much elected filters are ahead of every other way, over both networks, both distortions and all levels."""

    def bits(way: str, samples: int) -> np.ndarray:
        return np.concatenate(
            [filter_claims.selected(store, *condition, way, 100 * samples).hits for condition in filter_claims.CONDITIONS]
        )

    lines = [
        "| elected filters against | " + " | ".join(f"{100 * n:,} images" for n in neighbours.SAMPLES) + " |",
        "|---|" + "---|" * len(neighbours.SAMPLES),
    ]
    for way in neighbours.WAYS[1:]:
        cells = [shown(bootstrap_interval(bits(neighbours.ELECTED, n), bits(way, n))) for n in neighbours.SAMPLES]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "Differences of mean accuracy with their 95 % intervals over images; one training of each."]
    )
