"""Kinds of claims that need no run: parameters counted from networks, and the paper's own numbers combined."""

from math import floor, prod

import scipy

from dclib.verdicts.evidence import Evidence
from dclib.verdicts.finding import Finding, Outcome


def _count(claim: dict, evidence: Evidence) -> Finding:
    """A total that is cut instead of rounded is that total: the page notes it."""
    ours, unit = evidence.parameters(evidence.test["method"]), evidence.test["unit"]
    printed = round(claim["paper"] / unit)
    text = f"Ours is {ours:,}, the paper's {claim['paper']:,}"
    if round(ours / unit) == printed:
        return Finding(ours, None, Outcome.HOLDS, text)
    if floor(ours / unit) == printed:
        return Finding(ours, None, Outcome.HOLDS, f"{text}: cut where it would be rounded")
    return Finding(ours, None, Outcome.CONTRADICTED, text)


def _fewer_parameters(claim: dict, evidence: Evidence) -> Finding:
    fewer, than = evidence.parameters(evidence.test["fewer"]), evidence.parameters(evidence.test["than"])
    saved, value, text = 1 - fewer / than, claim["paper"], f"{fewer:,} parameters instead of {than:,}"
    if saved <= 0:
        return Finding(saved, None, Outcome.CONTRADICTED, text)
    same = value is None or _rounds_to(saved, claim)
    return Finding(saved, None, Outcome.HOLDS if same else Outcome.DIRECTION, text)


OPERATIONS = {
    "sum": sum,
    "product": prod,
    "share": lambda terms: terms[0] / terms[1],
    "largest_of_smallest": lambda terms: max(terms) / min(terms),
    "passes": lambda terms: terms[0] * terms[1] / terms[2],  # iterations, batch, images
    "chance_of_overlap": lambda terms: float(1 - scipy.stats.hypergeom.pmf(0, *terms)),  # of all, marked, drawn
}


def _arithmetic(claim: dict, evidence: Evidence) -> Finding:
    ours = OPERATIONS[evidence.test["operation"]](evidence.test["terms"])
    outcome = Outcome.HOLDS if _rounds_to(ours, claim) else Outcome.CONTRADICTED
    return Finding(ours, None, outcome, f"The paper's own numbers give {ours:g}, the text {claim['paper']:g}; no run")


def _rounds_to(ours: float, claim: dict) -> bool:
    """Whether our value gives the paper's number at the digits that the paper prints."""
    return abs(ours - claim["paper"]) <= 0.5 * 10.0 ** -claim["digits"] + 1e-9


#: What `kinds` has of them, by the kind in data/paper/claims.json.
KINDS = {"count": _count, "fewer_parameters": _fewer_parameters, "arithmetic": _arithmetic}
