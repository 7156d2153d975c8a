"""From a claim of the paper and the records of our runs to a verdict.

The rule, in one place:

- *not run yet*: a record that the claim needs does not exist.
- *cannot be judged*: the records that are there cannot judge it. The explanation says why; our value is shown all the
  same.
- A claim about a method for which another one was run (a deconvolution for NCSR) cannot be judged.
- A claim with a number (an accuracy, a ratio, a relative gain or drop, a measure with the paper's number) cannot be
  judged by a stand-in with another number of classes, in the test or in the network's training: 20 classes are easier
  than 1000, and sizes do not carry over. Order, likeness and shares in words do. A narrower network on the paper's own
  classes is judged, and named as a stand-in.
- A claim with a number **holds** if the paper's number lies in our interval or within the authors' own
  spread of our value. That spread is 1 point of accuracy (two evaluations of one network by the authors
  differ by about as much), carried through the claim's formula. It **holds in direction** if our interval
  excludes "no effect" on the claimed side but the size differs; it cannot hold if that is on the other side.
- A claim of order ("better than") **holds** if the interval of every difference that it speaks of excludes
  zero in the claimed direction, after Holm's correction where there are several. It **holds in direction**
  if the averages over levels do so, single levels do not, and no level shows the opposite.
- A claim of a share ("most of the loss") **holds** if the interval lies above the share that we read into
  the words (it stands in the claim), in direction if above half of it.
- A claim of likeness **holds** if the whole interval lies within its margin, in direction if the value does. It, and a
  claim of no significance, can be judged only where both networks have left the baseline: by more than the authors'
  spread in mean accuracy, beyond doubt.
- A claim of significance **holds** if the paper's t-test over levels and the intervals over images agree
  with it, in direction if one of them does. A claim of no significance holds if neither finds a difference,
  in direction if the t-test finds none but the images, of which there are many more, do.
- Counts and sums must give the paper's number at the digits that it prints. Parameters are counted from the networks
  at the paper's scale and need no run.
- Anything else **does not hold**: a difference that could be zero has not been shown.

Intervals are 95 % percentile bootstraps over images, with all levels and seeds of one image kept together.
They speak for the networks that were trained; the explanation adds what single seeds give. Methods that saw different
test images are paired on those that both saw; where the records do not tell which, the images of each are drawn apart.
Where records carry no bits, the t-interval over random splits (Section 5.3, the same splits for both methods, corrected
for the images that splits share) or else over seeds takes their place, and with one seed the authors' spread.
Figures 4 and 5 come without bits: there a bound of the sampling error of the images swapped on decides, the authors'
spread at least, and no interval is given. Where everything compared lies within it, the claim cannot be judged.
Measures of other figures bring intervals of their own, over classes, images or filters (dclib.measures).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dclib import paper
from dclib.claims import KINDS
from dclib.evidence import Evidence, NotRun, operand_key
from dclib.findings import Finding
from dclib.statistics import Outcome

OPERANDS = ("method", "baseline", "a", "b", "better", "worse", "fewer", "than", "pairs")


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
    stand_in: str
    disagreement: str

    @property
    def deviation(self) -> float | None:
        """Our value minus the paper's number, in units of the spread; None where the two cannot be compared."""
        if self.ours is None or self.paper is None or not self.spread:
            return None
        return (self.ours - self.paper) / self.spread


def judge(claim: dict, lookup: Callable, lookup_swaps=None, lookup_measure=None, lookup_parameters=None) -> Verdict:
    """Judge one claim of data/paper/claims.json by the rule at the top of this module.

    lookup(table, method) -> list of records, one per seed, empty if none. A record has accuracy (float
    [levels]), correct (bool [levels, images], or None where accuracy is no mean over images), id and seed,
    and may have stand_in (what it stands in for), other_classes ("20 classes instead of 1000"), other_method, test_images
    (per class; None for all) and classes, and where accuracies are means of random splits draws (float [draws,
    levels], of the same images for the same seed) and test_to_train (images of a split). Methods are the paper's,
    with a word added where a table needs one: "global blur" (Table 5), "ranked_48 awgn", "random_48 blur",
    "ranked_48_least blur" (Table 6 and Figure 9; each draw of random filters is one record), "Deepcorr-5
    sun397" (Tables 13-15). required() lists what a claim needs.
    lookup_swaps(dataset, distortion) -> None or layer name -> accuracy [5 fractions, levels 1..6]; a mapping
    with attributes runs, stand_in and images (swapped on) passes them on.
    lookup_measure(name) -> None or a mapping with value, and perhaps interval, seeds, runs, stand_in, other_classes,
    notes (added to the explanation) and undecided (why the value cannot judge the claim).
    lookup_parameters(table, method) -> None or how many parameters the method trains at the paper's scale.
    Raises ValueError for an unknown kind of test or a record that contradicts itself.
    """
    test = claim["test"]
    if test["kind"] not in KINDS:
        raise ValueError(f"Expected a test of kind {', '.join(KINDS)}, got {test['kind']!r}; see claim {claim['id']}.")
    evidence = Evidence(test, lookup, lookup_swaps, lookup_measure, lookup_parameters)
    try:
        finding = KINDS[test["kind"]](claim, evidence)
    except NotRun as missing:
        finding = Finding(None, None, Outcome.NOT_RUN, f"There is no record yet of {missing}")
        evidence = Evidence(test, lookup)
    if evidence.other_methods:
        named = " and ".join(dict.fromkeys(evidence.other_methods))
        finding = replace(finding, outcome=Outcome.OPEN, spread=None,
                          explanation=f"{named[0].upper()}{named[1:]}. {finding.explanation}")
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
        stand_in="; ".join(dict.fromkeys(evidence.stand_ins)),
        disagreement=claim["disagreement"] or "",
    )


def judge_all(lookup: Callable, lookup_swaps=None, lookup_measure=None, lookup_parameters=None) -> list[Verdict]:
    """Judge every claim of the paper, in the order of its text; arguments as for judge."""
    return [judge(claim, lookup, lookup_swaps, lookup_measure, lookup_parameters) for claim in paper.claims()]


def required(claim: dict) -> list[tuple[int, str]]:
    """The (table, method) pairs whose records a claim needs."""
    test = claim["test"]

    def flat(operand):
        return [o for part in operand for o in flat(part)] if isinstance(operand, list) else [operand]

    operands = [o for name in OPERANDS if name in test for o in flat(test[name])]
    return list(dict.fromkeys(operand_key(test, o) for o in operands))
