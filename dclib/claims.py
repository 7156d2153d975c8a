"""The kinds of claim in data/paper/claims.json, and what each comes to when records are at hand.

A kind is a function (claim, evidence) -> Finding. The rule that they share stands in dclib.verdicts. Each kind, the
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
similar (table, a, b, margin, level?, baseline)
    difference
significant, not_significant (table, pairs, baseline: one per pair, for not_significant)
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
measure (name, what, above, tolerance?)
    a number that a figure's own notebook measures

A ratio that speaks of likeness ("almost as good") has a baseline too: both networks must have left it.
An operand is a method of the test's table, or {"table", "method"}. No level means the mean over all.
"""

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
from scipy import stats

from dclib import statistics, swap_claims
from dclib.evidence import POINT, Evidence, compare, compare_all, interval, operand_key, paired_tests
from dclib.findings import Finding, at_least, show
from dclib.statistics import Outcome

# A number


def _number(value: float, ours: float, bounds, spread: float, null: float | None, evidence: Evidence) -> Finding:
    """The rule for a number: value is the paper's, null what no effect would give."""
    low, high = bounds or (ours - spread, ours + spread)
    known = f"Ours is {show(ours, bounds)}, the paper's {value:g}"
    if evidence.other_classes:
        classes = " and ".join(dict.fromkeys(evidence.other_classes))
        return Finding(ours, bounds, Outcome.OPEN, f"A stand-in with {classes} cannot judge a number. {known}")
    side = 0 if null is None else np.sign(value - null) * (int(low > null) - int(high < null))
    if side >= 0 and (low <= value <= high or abs(ours - value) <= spread):
        return Finding(ours, bounds, Outcome.HOLDS, f"{known}: equal within interval or spread", spread=spread)
    if side > 0:
        return Finding(ours, bounds, Outcome.DIRECTION, f"{known}: the same sign, another size", spread=spread)
    return Finding(ours, bounds, Outcome.FAILS, known, spread=spread)


def _quantity(claim, evidence, samples, formula, null=None) -> Finding:
    means = [s.mean() for s in samples]
    ours = formula(*means)
    spread = abs(formula(means[0] + POINT, *means[1:]) - ours)
    found = _number(claim["paper"], ours, interval(samples, formula), spread, null, evidence)
    return replace(found, explanation=found.explanation + _seeds(samples, formula))


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
    def formula(method, baseline, clean):
        return (method - baseline) / (clean - baseline)

    baseline = evidence.sample(evidence.test["baseline"])
    samples = [evidence.sample(evidence.test["method"]), baseline, baseline.at(0)]
    means = [s.mean() for s in samples]
    spread = POINT / (means[2] - means[1])
    found = at_least(formula(*means), interval(samples, formula), spread, evidence.test["at_least"])
    return replace(found, explanation=found.explanation + _seeds(samples, formula))


# Order, likeness, significance


def _order(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    worse = test["worse"] if isinstance(test["worse"], list) else [test["worse"]]
    better, others = evidence.sample(test["better"]), [evidence.sample(w) for w in worse]
    names = {"average": [None], "each level": range(len(better.levels()))}
    levels = names.get(test["over"], [test["over"]])
    parts, shown, pvalues = compare_all([(better.at(k), o.at(k)) for o, k in product(others, levels)])
    wholes = [compare(better, o) for o in others] if test["over"] == "each level" else parts
    if len(others) == 1 and test["over"] in names:
        pvalues = paired_tests(better, others[0]) | pvalues
    if all(s > 0 for s in shown):
        outcome = Outcome.HOLDS
    elif all(c.shown() > 0 for c in wholes) and -1 not in shown:
        outcome = Outcome.DIRECTION
    else:
        outcome = Outcome.FAILS
    closest = min(range(len(others)), key=lambda i: wholes[i].difference)
    least, pair = wholes[closest], [better, others[closest]]
    pair = [s.at(levels[0]) for s in pair] if len(levels) == 1 else pair
    text = (
        f"The difference is {show(least.difference, least.interval)}, better in {shown.count(1)} of {len(shown)} "
        f"comparisons, worse in {shown.count(-1)}{_seeds(pair)}"
        f"{f'; on the {least.common} images that both saw' if least.common else ''}"
    )
    return Finding(least.difference, least.interval, outcome, text, pvalues)


def _drop(claim: dict, evidence: Evidence) -> Finding:
    sample = evidence.sample(evidence.test["method"])
    fall = compare(sample.at(0), sample.at(evidence.test["level"]))
    outcome = Outcome.HOLDS if fall.shown() > 0 else Outcome.FAILS
    return Finding(fall.difference, fall.interval, outcome, f"The fall is {show(fall.difference, fall.interval)}")


def _similar(claim: dict, evidence: Evidence) -> Finding:
    test, level = evidence.test, evidence.test.get("level")
    pair, margin = [evidence.sample(test["a"], level), evidence.sample(test["b"], level)], test["margin"]
    found = compare(*pair)
    outcome = Outcome.FAILS
    if abs(found.difference) <= margin:
        outcome = Outcome.HOLDS if -margin <= found.low and found.high <= margin else Outcome.DIRECTION
    text = f"The difference is {show(found.difference, found.interval)}, the margin {margin:g}{_seeds(pair)}"
    return Finding(found.difference, found.interval, outcome, text)


def _significance(claimed: bool):
    def kind(claim: dict, evidence: Evidence) -> Finding:
        pairs = [(evidence.sample(a), evidence.sample(b)) for a, b in evidence.test["pairs"]]
        over_levels = statistics.paired_t_test(*(np.concatenate([s.levels() for s in side]) for side in zip(*pairs)))
        _, shown, pvalues = compare_all(pairs)
        small = over_levels.pvalue < statistics.SIGNIFICANCE
        agree = [small and over_levels.difference > 0, all(s > 0 for s in shown)]
        if claimed:
            outcome = Outcome.HOLDS if all(agree) else Outcome.DIRECTION if any(agree) else Outcome.FAILS
        else:
            outcome = Outcome.FAILS if small else Outcome.DIRECTION if any(shown) else Outcome.HOLDS
        text = (
            f"p = {over_levels.pvalue:.2g} over {over_levels.degrees_of_freedom + 1} pairs of levels, mean difference "
            f"{over_levels.difference:.4f}; over images {sum(map(abs, shown))} of {len(shown)} differences exclude zero"
        )
        pvalues = {"paired t-test over levels": over_levels.pvalue} | pvalues
        return Finding(over_levels.pvalue, None, outcome, text, pvalues)

    return kind


def _likeness(kind):
    """A kind of claim that networks are alike, judged only where both have left the baseline.

    Networks that still predict what the baseline does are alike whatever their training was meant to give. They have
    left it if they differ from it by more than the authors' spread, beyond doubt.
    """

    def gated(claim: dict, evidence: Evidence) -> Finding:
        found = kind(claim, evidence)
        unmoved = [] if found.outcome is Outcome.OPEN else _unmoved(evidence)
        if not unmoved:
            return found
        reason = f"Not clearly more than {POINT:g} away from the baseline: {', '.join(unmoved)}. {found.explanation}"
        return replace(found, outcome=Outcome.OPEN, explanation=reason, spread=None)

    return gated


def _unmoved(evidence: Evidence) -> list[str]:
    """The operands whose mean accuracy is not clearly another than the baseline's, with their difference to it."""
    test = evidence.test
    if "baseline" not in test:
        return []
    pairs = test.get("pairs") or [[test["a"], test["b"]]]
    shown = []
    for pair, baseline in zip(pairs, test["baseline"] if "pairs" in test else [test["baseline"]], strict=True):
        for operand in (o for o in pair if operand_key(test, o) != operand_key(test, baseline)):
            moved = compare(evidence.sample(operand), evidence.sample(baseline))
            if max(moved.low, -moved.high) <= POINT:
                name = operand_key(test, operand)[1]
                shown.append(f"{name} {show(moved.difference, moved.interval)}")
    return shown


# Counts and sums


def _count(claim: dict, evidence: Evidence) -> Finding:
    ours, unit = evidence.parameters(evidence.test["method"]), evidence.test["unit"]
    outcome = Outcome.HOLDS if round(ours / unit) == round(claim["paper"] / unit) else Outcome.FAILS
    return Finding(ours, None, outcome, f"Ours is {ours:,}, the paper's {claim['paper']:,}")


def _fewer_parameters(claim: dict, evidence: Evidence) -> Finding:
    fewer, than = evidence.parameters(evidence.test["fewer"]), evidence.parameters(evidence.test["than"])
    saved, value, text = 1 - fewer / than, claim["paper"], f"{fewer:,} parameters instead of {than:,}"
    if saved <= 0:
        return Finding(saved, None, Outcome.FAILS, text)
    same = value is None or _rounds_to(saved, claim)
    return Finding(saved, None, Outcome.HOLDS if same else Outcome.DIRECTION, text)


OPERATIONS = {
    "sum": sum,
    "product": prod,
    "share": lambda terms: terms[0] / terms[1],
    "passes": lambda terms: terms[0] * terms[1] / terms[2],  # iterations, batch, images
    "chance_of_overlap": lambda terms: float(1 - stats.hypergeom.pmf(0, *terms)),  # of all, marked, drawn
}


def _arithmetic(claim: dict, evidence: Evidence) -> Finding:
    ours = OPERATIONS[evidence.test["operation"]](evidence.test["terms"])
    outcome = Outcome.HOLDS if _rounds_to(ours, claim) else Outcome.FAILS
    return Finding(ours, None, outcome, f"The paper's own numbers give {ours:g}, the text {claim['paper']:g}; no run")


def _rounds_to(ours: float, claim: dict) -> bool:
    """Whether our value gives the paper's number at the digits that the paper prints."""
    return abs(ours - claim["paper"]) <= 0.5 * 10.0 ** -claim["digits"] + 1e-9


def _measure(claim: dict, evidence: Evidence) -> Finding:
    test = evidence.test
    measured = evidence.measure(test["name"])
    ours, bounds = measured["value"], measured.get("interval")
    if claim["paper"] is not None:
        found = _number(claim["paper"], ours, bounds, test["tolerance"], test["above"], evidence)
    else:
        low = bounds[0] if bounds else ours
        outcome = Outcome.HOLDS if low > test["above"] else Outcome.FAILS
        found = Finding(ours, bounds, outcome, f"Ours is {show(ours, bounds)}, above {test['above']:g} is claimed")
    found = replace(found, explanation=found.explanation + "".join(f"; {note}" for note in measured.get("notes", ())))
    if not measured.get("undecided"):
        return found
    reason = measured["undecided"][0].upper() + measured["undecided"][1:]
    return replace(found, outcome=Outcome.OPEN, spread=None, explanation=f"{reason}. {found.explanation}")


def _seeds(samples, formula=lambda a, b: a - b) -> str:
    """What single seeds give: intervals over images say nothing about training anew."""
    values = [formula(*v) for v in zip(*(s.per_seed() for s in samples))]
    return f"; {len(values)} seeds give {min(values):.4f} to {max(values):.4f}" if len(values) > 1 else ""


KINDS = {
    "accuracy": _accuracy,
    "relative_improvement": _two(lambda a, b: a / b - 1, null=0),
    "ratio": _likeness(_two(lambda a, b: a / b, null=1)),
    "relative_drop": _two(lambda a, b: 1 - a / b, null=0),
    "recovered_loss": _recovered_loss,
    "order": _order,
    "drop": _drop,
    "similar": _likeness(_similar),
    "significant": _significance(True),
    "not_significant": _likeness(_significance(False)),
    "count": _count,
    "fewer_parameters": _fewer_parameters,
    "arithmetic": _arithmetic,
    **swap_claims.KINDS,
    "measure": _measure,
}
