"""The kinds of claim in data/paper/claims.json, and what each comes to when records are at hand.

A kind is a function (claim, evidence) -> Finding. The rule that they share stands in dclib.verdicts.rule. Each kind, the
fields of its test, and our value:

accuracy (table, method, level?)
    mean accuracy
relative_improvement, ratio, relative_drop (table, a, b)
    a/b - 1, a/b, 1 - a/b
recovered_loss (table, method, baseline, at_least)
    share of the accuracy lost to distortion won back
drop (table, method, level)
    fall from clean to that level
order (table, better, worse (one or a list), over: average, each level, or a level)
    smallest difference
similar (table, a, b, margin, level?)
    difference
significant, not_significant (table, pairs)
    p of the t-test, the levels of all pairs together
count (table, method, unit)
    trained parameters, counted from the network
fewer_parameters (table, fewer, than)
    share of parameters saved, counted from the networks
arithmetic (operation, terms)
    the paper's own numbers, combined
recovered_share (dataset, distortion, layer, fraction, at_least)
    share of the way from 10 % swapped to the ceiling
recovered_less (distortion, layer, fraction, less, more (data sets))
    by how much that share is smaller
largest_step (dataset, distortion, layer, step)
    lead of one step between fractions over the next best
largest_layer (dataset, distortion, fraction, layer)
    lead of one layer over the next best
declines_with_depth (dataset, distortion, fraction, first, quantity: accuracy or recovered_share)
    rank correlation
measure (quantity, what, above, tolerance?; figure, dataset, distortion, units, reference as the quantity needs them)
    a number that a figure's own notebook measures

An operand is a method of the test's table, or {"table", "method"}. No level means the mean over all.
"""

from dataclasses import replace
from itertools import product

import numpy as np

from dclib import statistics
from dclib.statistics import SIGNIFICANCE
from dclib.verdicts import comparison, count_kinds, finding, swap_kinds
from dclib.verdicts.comparison import RunToRun, Sample, compare, estimate, paired_tests
from dclib.verdicts.evidence import Evidence
from dclib.verdicts.finding import Estimate, Finding, Outcome, could_show, show
from dclib.verdicts.replication import draw_pvalue, smallest_effect

# A number


def _number(value: float, found: Estimate, spread: float, null: float | None, evidence: Evidence) -> Finding:
    """The rule for a number: value is the paper's, null what no effect would give."""
    outcome = finding.number(found, value, spread, null, evidence.sizes)
    text = f"Ours is {show(found.value, found.interval)}, the paper's {value:g}"
    if outcome is Outcome.OPEN and not evidence.sizes:
        text = f"A stand-in with {_named(evidence.other_sizes)} judges no size. {text}"
    elif outcome is Outcome.OPEN:
        text = f"The tolerance of {spread:.4f} is not smaller than the effect of {abs(value - null):.4f}. {text}"
    elif outcome is Outcome.HOLDS:
        text += ": equal within interval or spread"
    elif outcome is Outcome.DIRECTION:
        text += (
            ": the same sign, another size"
            if evidence.sizes
            else (f": the same sign; no size is judged with {_named(evidence.other_sizes)}")
        )
    if evidence.sizes and evidence.short_trainings:
        text += f"; the size is that of a short training, {_named(evidence.short_trainings)}"
    kept = spread if evidence.sizes and outcome is not Outcome.OPEN else None
    return finding.told(Finding(found.value, found.interval, outcome, text, spread=kept), found)


def _quantity(claim, evidence, samples, formula, null=None) -> Finding:
    means = [s.mean() for s in samples]
    spread = abs(formula(means[0] + comparison.POINT, *means[1:]) - formula(*means))
    return _number(claim["paper"], estimate(samples, formula), spread, null, evidence)


def _accuracy(claim: dict, evidence: Evidence) -> Finding:
    sample = evidence.sample(evidence.test["method"], evidence.test.get("level"))
    return _quantity(claim, evidence, [sample], lambda a: a)


def _two(formula, null: float):
    """A formula of the mean accuracies of two methods, a and b."""

    def kind(claim: dict, evidence: Evidence) -> Finding:
        a, b = evidence.sample(evidence.test["a"]), evidence.sample(evidence.test["b"])
        return replace(_quantity(claim, evidence, [a, b], formula, null), pvalues=paired_tests(a, b))

    return kind


def _recovered_loss(claim: dict, evidence: Evidence) -> Finding:
    """The baseline is the one network whose loss is won back: another training of it is not asked about."""
    baseline = replace(evidence.sample(evidence.test["baseline"]), run_to_run=lambda level: RunToRun(0.0, ""))
    samples, bound = [evidence.sample(evidence.test["method"]), baseline, baseline.at(0)], evidence.test["at_least"]
    found = estimate(samples, lambda method, before, clean: (method - before) / (clean - before))
    text = f"The share is {show(found.value, found.interval)}, {bound:g} is asked for"
    return finding.told(Finding(found.value, found.interval, finding.at_least(found, bound), text), found)


# Order, likeness, significance


def _order(claim: dict, evidence: Evidence) -> Finding:
    """Better than one or several, on average or at each level: all parts have to be shown, so that none is corrected for
    the others (an intersection-union test)."""
    test = evidence.test
    worse = test["worse"] if isinstance(test["worse"], list) else [test["worse"]]
    better, others = evidence.sample(test["better"]), [evidence.sample(w) for w in worse]
    if better.draws() or any(o.draws() for o in others):
        return _order_of_draws(better, others[0])
    names = {"average": [None], "each level": range(len(better.levels()))}
    levels = names.get(test["over"], [test["over"]])
    parts = [compare(better.at(k), o.at(k)) for o, k in product(others, levels)]
    wholes = [compare(better, o) for o in others] if test["over"] == "each level" else parts
    pvalues = paired_tests(better, others[0]) if len(others) == 1 and test["over"] in names else {}
    if all(p.pvalue is not None for p in parts):
        pvalues |= {"bootstrap over images": [p.pvalue for p in parts]}
    least = min(wholes, key=lambda whole: whole.value)
    sides = [p.side() for p in parts]
    text = (
        f"The difference is {show(least.value, least.interval)}, better in {sides.count(1)} of {len(sides)} "
        f"comparisons, worse in {sides.count(-1)}"
        f"{f'; on the {least.common} images that both saw' if least.common else ''}"
    )
    if len(parts) > len(wholes) and (open_parts := [p for p in parts if p.unreplicated]):
        text += f"; single levels are {open_parts[0].words}"
    outcome = _all_shown(parts, wholes, claim["from_tables"] if evidence.sizes else None, least)
    return finding.told(Finding(least.value, least.interval, outcome, text, pvalues), least)


def _all_shown(parts: list[Estimate], wholes: list[Estimate], effect: float | None, least: Estimate) -> Outcome:
    """effect: the paper's own, of the smallest of the `wholes`, where sizes may be compared."""
    average, sides = all(whole.side() > 0 for whole in wholes), [p.side() for p in parts]
    if average and all(side > 0 for side in sides) and not any(p.unreplicated for p in parts):
        return Outcome.HOLDS
    if average and -1 not in sides:
        return Outcome.DIRECTION
    if any(p.side() < 0 and not p.unreplicated for p in [*parts, *wholes]):
        return Outcome.CONTRADICTED
    if effect is not None and not least.unreplicated and finding.excluded(least, effect):
        return Outcome.CONTRADICTED
    return Outcome.INCONCLUSIVE


def _order_of_draws(better: Sample, worse: Sample) -> Finding:
    """One choice of filters against random ones: the draw is the unit, and the rank among draws the test."""
    sign, (choice, drawn) = (1, (better, worse)) if worse.draws() else (-1, (worse, better))
    ours, draws = _against_draws([(choice, drawn)])
    pvalue, opposite = draw_pvalue(sign * ours, sign * draws), draw_pvalue(-sign * ours, -sign * draws)
    value = float(sign * (ours - draws.mean()))
    outcome = _by_rank(pvalue, opposite)
    beaten = int(np.sum(sign * draws < sign * ours))
    text = (
        f"The difference to the mean of {len(draws)} random draws is {value:.4f}, beyond {beaten} of them"
        f"{_rank(pvalue, len(draws))}"
    )
    return Finding(value, None, outcome, text, {"rank among draws": pvalue})


def _by_rank(pvalue: float, opposite: float) -> Outcome:
    """Nine draws or more that are all beaten hold in direction: fewer than 19 cannot be significant."""
    if min(pvalue, opposite) <= SIGNIFICANCE:
        return Outcome.HOLDS if pvalue < opposite else Outcome.CONTRADICTED
    return Outcome.DIRECTION if pvalue <= 2 * SIGNIFICANCE else Outcome.INCONCLUSIVE


def _rank(pvalue: float, draws: int) -> str:
    least = 1 / (draws + 1)
    enough = round(1 / SIGNIFICANCE) - 1
    few = f"; {draws} draws allow no p below {least:.2g}, {enough} would" if draws < enough else ""
    return f"; by rank among the draws p = {pvalue:.2g}{few}"


def _against_draws(pairs: list[tuple[Sample, Sample]]) -> tuple[float, np.ndarray]:
    """The mean accuracy of chosen filters, and that of each draw of random ones [draws], over pairs and shared seeds."""
    chosen, drawn = [], []
    for choice, random in pairs:
        seeds = (choice.seeds() & random.seeds()) or choice.seeds() | random.seeds()
        choice, random = choice.of_seeds(seeds), random.of_seeds(seeds)
        chosen.append(choice.mean())
        drawn.append({n: Sample([r for r in random.records if r.choice == n], random.level).mean() for n in random.draws()})
    shared = sorted(set.intersection(*(set(d) for d in drawn)))
    return float(np.mean(chosen)), np.mean([[d[n] for n in shared] for d in drawn], axis=0)


def _drop(claim: dict, evidence: Evidence) -> Finding:
    sample = evidence.sample(evidence.test["method"])
    fall = compare(sample.at(0), sample.at(evidence.test["level"]), within=True)
    outcome = finding.difference(fall, claim["from_tables"] if evidence.sizes else None)
    return finding.told(Finding(fall.value, fall.interval, outcome, f"The fall is {show(fall.value, fall.interval)}"), fall)


def _similar(claim: dict, evidence: Evidence) -> Finding:
    test, level = evidence.test, evidence.test.get("level")
    found = compare(evidence.sample(test["a"], level), evidence.sample(test["b"], level))
    outcome, margin = finding.alike(found, test["margin"]), test["margin"]
    text = f"The difference is {show(found.value, found.interval)}, the margin {margin:g}"
    if outcome is Outcome.OPEN:
        text = f"Chance alone moves the difference by more than the margin. {text}"
    return finding.told(Finding(found.value, found.interval, outcome, text), found)


def _significant(claim: dict, evidence: Evidence) -> Finding:
    """Both the paper's t-test over levels and the right unit, images or draws, have to show a gain."""
    pairs, over_levels, text = _pairs_over_levels(evidence)
    small, gain = over_levels.pvalue < SIGNIFICANCE, over_levels.difference > 0
    pvalues = {"paired t-test over levels": over_levels.pvalue}
    if all(b.draws() for _, b in pairs):
        ours, draws = _against_draws(pairs)
        pvalues["rank among draws"] = draw_pvalue(ours, draws)
        unit = _by_rank(pvalues["rank among draws"], draw_pvalue(-ours, -draws))
        text += _rank(pvalues["rank among draws"], len(draws))
    else:
        parts = [compare(a, b) for a, b in pairs]
        unit, shown = _all_shown(parts, parts, None, min(parts, key=lambda p: p.value)), [p.side() for p in parts]
        text += f"; over images {sum(map(abs, shown))} of {len(shown)} differences exclude zero; {parts[0].words}"
        if all(p.pvalue is not None for p in parts):
            pvalues["bootstrap over images"] = [p.pvalue for p in parts]
    if small and not gain and unit is Outcome.CONTRADICTED:
        outcome = Outcome.CONTRADICTED
    elif small and gain:
        outcome = {Outcome.HOLDS: Outcome.HOLDS, Outcome.DIRECTION: Outcome.DIRECTION}.get(unit, Outcome.INCONCLUSIVE)
    else:
        outcome = Outcome.DIRECTION if gain and unit is Outcome.HOLDS else Outcome.INCONCLUSIVE
    return Finding(over_levels.pvalue, None, outcome, text, pvalues)


def _not_significant(claim: dict, evidence: Evidence) -> Finding:
    """No difference was found where one of the authors' spread would have been: silence alone says nothing."""
    pairs, over_levels, text = _pairs_over_levels(evidence)
    parts, small = [compare(a, b) for a, b in pairs], over_levels.pvalue < SIGNIFICANCE
    shown, widest = any(p.side() for p in parts), max(parts, key=lambda p: p.high - p.low)
    seen = smallest_effect(widest.low, widest.high) <= comparison.POINT
    if small:
        outcome = Outcome.CONTRADICTED if shown else Outcome.INCONCLUSIVE
    else:
        outcome = Outcome.DIRECTION if shown else Outcome.HOLDS if seen else Outcome.INCONCLUSIVE
    text += f"; over images {sum(bool(p.side()) for p in parts)} of {len(parts)} differences exclude zero; {widest.words}"
    if outcome is Outcome.INCONCLUSIVE:
        text += could_show(widest)
    pvalues = {"paired t-test over levels": over_levels.pvalue}
    return Finding(over_levels.pvalue, None, outcome, text, pvalues)


def _pairs_over_levels(evidence: Evidence) -> tuple[list[tuple[Sample, Sample]], statistics.TTest, str]:
    """The pairs of a claim, the paper's t-test over the levels of all of them, and its result in words."""
    pairs = [(evidence.sample(a), evidence.sample(b)) for a, b in evidence.test["pairs"]]
    found = statistics.paired_t_test(*(np.concatenate([s.levels() for s in side]) for side in zip(*pairs)))
    return (
        pairs,
        found,
        (
            f"p = {found.pvalue:.2g} over {found.degrees_of_freedom + 1} pairs of levels, mean difference "
            f"{found.difference:.4f}"
        ),
    )


# What a figure's own notebook measures


def _measure(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    measured = evidence.measure(test)
    ours, bounds, exact = measured.value, measured.interval, measured.exact
    low, high = bounds or (ours, ours)
    alone = bounds is None and not exact if measured.unreplicated is None else measured.unreplicated
    found = Estimate(ours, low, high, bounds, alone)
    if claim["paper"] is not None:
        made = _number(claim["paper"], found, test["tolerance"], test["above"], evidence)
    else:
        outcome = finding.difference(found, null=test["above"])
        whose = "By the authors' own data it" if measured.published else "Ours"
        text = f"{whose} is {show(ours, None if exact else bounds)}, above {test['above']:g} is claimed"
        made = finding.told(Finding(ours, bounds, outcome, text), found)
    if words := measured.words:  # a value that no number says
        made = replace(made, ours=None, interval=None, explanation=words[0].upper() + words[1:])
    made = replace(made, explanation=made.explanation + "".join(f"; {note}" for note in measured.notes))
    if not measured.undecided:
        return made
    reason = measured.undecided[0].upper() + measured.undecided[1:]
    return replace(made, outcome=Outcome.OPEN, spread=None, explanation=f"{reason}. {made.explanation}")


def _named(words: list[str]) -> str:
    return " and ".join(dict.fromkeys(words))


KINDS = {
    "accuracy": _accuracy,
    "relative_improvement": _two(lambda a, b: a / b - 1, null=0),
    "ratio": _two(lambda a, b: a / b, null=1),
    "relative_drop": _two(lambda a, b: 1 - a / b, null=0),
    "recovered_loss": _recovered_loss,
    "order": _order,
    "drop": _drop,
    "similar": _similar,
    "significant": _significant,
    "not_significant": _not_significant,
    **count_kinds.KINDS,
    **swap_kinds.KINDS,
    "measure": _measure,
}
