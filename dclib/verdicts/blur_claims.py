"""The claims of the blur study (Vasiljevic et al., 2016), and its records by what networks were tuned on."""

import numpy as np

from dclib.experiments import neighbours
from dclib.results import Record, Store, unpack_bits
from dclib.statistics import bootstrap_interval
from dclib.verdicts.finding import Outcome, at_least, difference
from dclib.verdicts.neighbouring import LITTLE, MOST, Judge, between, least, record_of, regained, shown


def _five(store: Store, side: int) -> np.ndarray:
    return unpack_bits(record_of("blur_published", f"{side} pixels", store).outcome["among_five"])


def _hurts(store: Store) -> tuple[Outcome, str]:
    outcomes, words = [], []
    for side in neighbours.SIDES:
        five = _five(store, side)
        lost = bootstrap_interval(np.repeat(five[:1], len(five) - 1, 0), five[1:])
        outcomes.append(difference(between(lost, trained=False)))
        words.append(f"{lost.estimate:.3f} ({lost.low:.3f} to {lost.high:.3f}) at {side} pixels")
    return least(outcomes), f"top-5 accuracy lost over all blurs: {' and '.join(words)}"


def _size(store: Store) -> tuple[Outcome, str]:
    discs = [i for i, name in enumerate(neighbours.PUBLISHED_BLURS) if name.startswith("defocus")]
    outcomes, words = [], []
    for side in neighbours.SIDES:
        five = _five(store, side)[[0, *discs]]
        outcomes += [difference(between(bootstrap_interval(a, b), trained=False)) for a, b in zip(five, five[1:])]
        words.append(f"{', '.join(f'{x:.3f}' for x in five.mean(1))} at {side} pixels")
    return least(outcomes), f"top-5, sharp and with discs of radius 2 to 8: {'; '.join(words)}"


def tuning(store: Store, on: str) -> Record:
    """What the network that was tuned on `on` says under each blur."""
    return record_of("blur_tuning", on, store)


def under(kind: str) -> list[int]:
    """The places of the blurs of one kind among a tuning's conditions; all of them for "all"."""
    names = neighbours.TEST_BLURS if kind == "all" else neighbours.TESTED_ON[kind]
    return [1 + neighbours.TEST_BLURS.index(name) for name in names]


def _mix(store: Store) -> tuple[Outcome, str]:
    before, after = tuning(store, neighbours.NOT_TUNED).hits, tuning(store, neighbours.MIX).hits
    back = regained(np.repeat(before[:1], len(before) - 1, 0), before[1:], after[1:])
    return at_least(between(back), MOST), (
        f"{back.estimate:.0%} ({back.low:.0%} to {back.high:.0%}) of the loss, from {before[1:].mean():.3f} to "
        f"{after[1:].mean():.3f}; sharp images had {before[0].mean():.3f}"
    )


def _sharp(store: Store) -> tuple[Outcome, str]:
    before, after = (tuning(store, on).hits[:1] for on in (neighbours.NOT_TUNED, neighbours.MIX))
    found = bootstrap_interval(after, before)
    return difference(between(found), null=-LITTLE), f"sharp images move by {shown(found)}"


def _transfer(store: Store) -> tuple[Outcome, str]:
    base, outcomes, words = tuning(store, neighbours.NOT_TUNED).hits, [], []
    for on, kind in (("defocus", "shake"), ("shake", "defocus")):
        found = bootstrap_interval(tuning(store, on).hits[under(kind)], base[under(kind)])
        outcomes.append(difference(between(found)))
        words.append(f"tuned on {on}, {kind} gains {shown(found)}")
    return least(outcomes), "; ".join(words)


def _imperfect(store: Store) -> tuple[Outcome, str]:
    outcomes, words = [], []
    for on, kind in (("defocus", "shake"), ("shake", "defocus")):
        found = bootstrap_interval(tuning(store, kind).hits[under(kind)], tuning(store, on).hits[under(kind)])
        outcomes.append(difference(between(found)))
        words.append(f"under {kind}, the network tuned on it is ahead by {shown(found)}")
    return least(outcomes), "; ".join(words)


def _layers(store: Store) -> tuple[Outcome, str]:
    before, after = (tuning(store, on).outcome["moved"] for on in (neighbours.NOT_TUNED, neighbours.MIX))
    means = {layer: (np.mean(before[layer][1:]), np.mean(after[layer][1:])) for layer in before}
    less = [layer for layer, (a, b) in means.items() if b < a]
    words = ", ".join(f"{layer} {a:.2f} to {b:.2f}" for layer, (a, b) in means.items())
    return (Outcome.DIRECTION if len(less) > len(means) / 2 else Outcome.INCONCLUSIVE), (
        f"blur moves activations less in {len(less)} of {len(means)} layers: {words}"
    )


def _deconvolution(store: Store) -> tuple[Outcome, str]:
    outcome = record_of("blur_deconvolution", "Deconvolution", store).outcome
    restored = {way: unpack_bits(packed) for way, packed in outcome["correct"].items() if way != "blurred"}
    best = max(restored, key=lambda way: restored[way].mean())
    after = tuning(store, neighbours.MIX).hits[1:]
    found = bootstrap_interval(after, restored[best])
    return difference(between(found), null=-LITTLE), (
        f"tuned on the mix {after.mean():.3f}, restored {', '.join(f'{w} {b.mean():.3f}' for w, b in restored.items())}; "
        f"ahead of the best by {shown(found)}"
    )


def _cost(store: Store) -> tuple[Outcome, str]:
    seconds = dict(record_of("blur_deconvolution", "Deconvolution", store).cost["seconds_per_image"])
    network = seconds.pop("network")
    words = ", ".join(f"{way} {1000 * taken:.1f} ms" for way, taken in seconds.items())
    ratio = min(seconds.values()) / network
    return (Outcome.HOLDS if ratio > 10 else Outcome.DIRECTION if ratio > 1 else Outcome.CONTRADICTED), (
        f"{words} an image, the network itself {1000 * network:.1f} ms"
    )


def _confidence(store: Store) -> tuple[Outcome, str]:
    before, after = (tuning(store, on).outcome for on in (neighbours.NOT_TUNED, neighbours.MIX))
    sure = np.mean(after["confidence"][1:]) - np.mean(before["confidence"][1:])
    sharp, blurred = (
        np.mean(a) - np.mean(b)
        for a, b in ((after["entropy"][:1], before["entropy"][:1]), (after["entropy"][1:], before["entropy"][1:]))
    )
    return (Outcome.DIRECTION if sure > 0 and sharp < blurred else Outcome.INCONCLUSIVE), (
        f"under blur the confidence moves by {sure:+.3f}; the entropy moves by {sharp:+.3f} nats on sharp images and by "
        f"{blurred:+.3f} under blur"
    )


KINDS: dict[str, Judge] = {
    "blur-hurts": _hurts,
    "blur-size": _size,
    "blur-mix": _mix,
    "blur-sharp": _sharp,
    "blur-transfer": _transfer,
    "blur-imperfect": _imperfect,
    "blur-layers": _layers,
    "blur-deconvolution": _deconvolution,
    "blur-cost": _cost,
    "blur-confidence": _confidence,
    "blur-scales": lambda store: (Outcome.OPEN, "no network was trained at two scales here"),
    "blur-segmentation": lambda store: (
        Outcome.NOT_RUN,
        "needs VOC2012, which is not here; the page shows it live on mosaics of photographs",
    ),
}
