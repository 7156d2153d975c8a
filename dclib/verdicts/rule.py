"""From a claim of the paper and the records of our runs to a verdict.

The rule, in one place. What comes of a claim:

- *holds*: the interval that decides shows what is claimed.
- *holds in direction*: it shows the claimed side of "no effect", but another size, or not at each level, or only for the
  networks that were trained.
- *contradicted*: the interval lies on the other side (of the margin, where there is one), or it excludes the paper's
  effect although an effect of that size would have been seen with a chance of 80 % or more.
- *inconclusive*: none of these. The explanation says the smallest effect that this sample could have shown (with that
  chance). What was not shown is not contradicted.
- *cannot be judged*: the records that are there cannot judge it. The explanation says why; our value is shown all the
  same.
- *not run yet*: a record that the claim needs does not exist.

Which interval decides. A record keeps which images are right, so that images are resampled (95 % percentile bootstrap),
with all levels and seeds of one image kept together; methods that saw different test images are paired on those that both
saw. But a claim is about methods, and the unit of a method is a training:

- With several seeds the t-interval over seeds and the interval over images widen each other as independent sources of
  chance do (`replication.widen`).
- With one seed the verdict is conditional on the networks that were trained, and says so. Their difference has to exceed
  twice the deviation from one training to the next as well. Rows of the same profile with three seeds estimate it, pooled.
  Where there are none, the authors' own spread of a point stands in, for means over levels alone: of single levels it
  says nothing, so that these hold in direction at best.
- Where filters are chosen at random the unit is the draw: the rank of the chosen filters among the draws gives the exact
  p-value (draws at least as good + 1) / (draws + 1). Ten draws allow no p below 0.09, so that ten beaten draws hold in
  direction; a tick takes 19.
- Random splits (Section 5.3, the same for both methods) take the place of images, corrected for the images that they
  share. Figures 4 and 5 resample the images swapped on; Figure 6 those that rank. Figures 10 to 12 bring intervals of
  their own (dclib.verdicts.measures); where there is none, a value holds in direction at best.

What may judge. A claim about a method for which another one was run (a deconvolution for NCSR) cannot be judged. Trained
networks pass one gate, whatever the claim asks (dclib.verdicts.gate): each has clearly left its baseline, and a stand-in has
not fallen below it, has a validation curve that is flat in the last quarter of its training and at least 1,000 test images.
Networks that are
narrower than the paper's, or have fewer classes, judge no size, only on which side of "no effect" one lies; a short
training at the paper's own width judges sizes, and is named.

The kinds of claim:

- A number (an accuracy, a ratio, a relative gain or drop) holds if the paper's number lies in our interval or within the
  authors' own spread of our value, carried through the claim's formula, and "no effect" is excluded. Where that tolerance
  is as large as the effect, it cannot be judged.
- An order ("better than") holds if every difference that it speaks of is shown. All have to be, so that none is corrected
  for the others. It holds in direction if the averages are shown, single levels are not, and no level shows the opposite.
- A share ("most of the loss") holds if the interval lies above the share that we read into the words (it stands in the
  claim), in direction if above half of it.
- A likeness holds if the whole interval lies within its margin; an interval wider than that cannot judge it.
- A significance holds if the paper's t-test over levels and the right unit, images or draws, agree; no significance holds
  if neither finds a difference and one of the authors' spread would have been seen.
- Counts and sums must give the paper's number at the digits that it prints. Parameters are counted from the networks
  in profile paper and need no run.

Across claims: each tick has its own 2.5 % chance of being false, and the page says how many that makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from dclib import paper
from dclib.experiments import StandIn
from dclib.verdicts import gate
from dclib.verdicts.evidence import Evidence, NotRun, operand_key
from dclib.verdicts.finding import Finding, Outcome
from dclib.verdicts.kinds import KINDS
from dclib.verdicts.source import Source

OPERANDS = ("method", "baseline", "a", "b", "better", "worse", "fewer", "than", "pairs")


class Basis(StrEnum):
    """What a verdict rests on. Only the last is evidence about the method."""

    ARITHMETIC = "the paper's own numbers, added up"
    COUNTS = "parameters and operations, counted"
    PUBLISHED = "the authors' published swaps"
    MEASURED = "networks trained and tested"


@dataclass(frozen=True)
class Verdict:
    """One claim, judged. paper: the number in the text; from_tables: what the paper's own tables give.

    spread: the authors' own spread, carried through the claim's formula; None where the claim is no number.
    """

    claim: str
    section: str
    place: str
    text: str
    paper: float | None
    from_tables: float | None
    ours: float | None
    interval: tuple[float, float] | None
    spread: float | None
    seeds: int
    verdict: Outcome
    explanation: str
    pvalues: Mapping[str, float | list[float]]
    runs: tuple[str, ...]
    stand_ins: tuple[StandIn, ...]
    disagreement: str
    basis: Basis = Basis.MEASURED

    @property
    def deviation(self) -> float | None:
        """Our value minus the paper's number, in units of the spread; None where the two cannot be compared."""
        if self.ours is None or self.paper is None or not self.spread:
            return None
        return (self.ours - self.paper) / self.spread


def judge(claim: dict, source: Source) -> Verdict:
    """Judge one claim of data/paper/claims.json by the rule at the top of this module, with what `source` has.

    Raises ValueError for an unknown kind of test or a record that contradicts itself.
    """
    test = claim["test"]
    if test["kind"] not in KINDS:
        raise ValueError(f"Expected a test of kind {', '.join(KINDS)}, got {test['kind']!r}; see claim {claim['id']}.")
    evidence = Evidence(test, source)
    try:
        finding = KINDS[test["kind"]](claim, evidence)
        blocked = gate.obstacles(evidence.trainings)
    except NotRun as missing:
        finding, blocked = Finding(None, None, Outcome.NOT_RUN, f"There is no record yet of {missing}"), []
        evidence = Evidence(test, source)
    if blocked:
        finding = replace(
            finding, outcome=Outcome.OPEN, spread=None, explanation=f"{'; '.join(blocked)}. {finding.explanation}"
        )
    if evidence.other_methods:
        named = " and ".join(dict.fromkeys(evidence.other_methods))
        finding = replace(
            finding, outcome=Outcome.OPEN, spread=None, explanation=f"{named[0].upper()}{named[1:]}. {finding.explanation}"
        )
    return Verdict(
        claim=claim["id"],
        section=claim["section"],
        place=claim["place"],
        text=claim["claim"],
        paper=claim["paper"],
        from_tables=claim["from_tables"],
        ours=None if finding.ours is None else float(finding.ours),
        interval=finding.interval,
        spread=finding.spread,
        seeds=min(evidence.seeds, default=0),
        verdict=finding.outcome,
        explanation=f"{finding.explanation}.",
        pvalues=finding.pvalues,
        runs=tuple(dict.fromkeys(evidence.runs)),
        stand_ins=tuple(dict.fromkeys(evidence.stand_ins)),
        disagreement=claim["disagreement"] or "",
        basis=basis(claim, evidence.published),
    )


def basis(claim: dict, published: bool = False) -> Basis:
    """What a claim is judged by; published: whether that was the authors' own data."""
    test = claim["test"]
    if test["kind"] == "arithmetic":
        return Basis.ARITHMETIC
    if test["kind"] in ("count", "fewer_parameters") or test.get("quantity") == "operations_saved":
        return Basis.COUNTS
    return Basis.PUBLISHED if published else Basis.MEASURED


def judge_all(source: Source) -> list[Verdict]:
    """Judge every claim of the paper, in the order of its text."""
    return [judge(claim, source) for claim in paper.claims()]


def required(claim: dict) -> list[tuple[int, str]]:
    """The (table, method) pairs whose records a claim needs."""
    test = claim["test"]

    def flat(operand):
        return [o for part in operand for o in flat(part)] if isinstance(operand, list) else [operand]

    operands = [o for name in OPERANDS if name in test for o in flat(test[name])]
    return list(dict.fromkeys(operand_key(test, o) for o in operands))
