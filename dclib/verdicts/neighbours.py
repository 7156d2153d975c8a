"""All claims of the neighbouring works with their verdicts."""

from dataclasses import dataclass

from dclib import paper
from dclib.results import Store
from dclib.verdicts import blur_claims, filter_claims, gate_claims
from dclib.verdicts.finding import Outcome
from dclib.verdicts.neighbouring import NotRun

#: The works by their key in the bibliography, and what judges their claims.
WORKS = {
    "vasiljevic2016examining": ("Blur", blur_claims.KINDS),
    "bianchi2019improving": ("Selected filters", filter_claims.KINDS),
    "feng2020towards": ("The gate", gate_claims.KINDS),
}


@dataclass(frozen=True)
class Judged:
    """A claim of a neighbouring work, the verdict, and what came out here in words."""

    claim: str
    outcome: Outcome
    words: str


def judged(work: str, store: Store) -> list[Judged]:
    """The claims of one work, in the order of neighbours.json."""
    found = []
    for claim in paper.neighbours()[work]["claims"]:
        try:
            outcome, words = WORKS[work][1][claim["id"]](store)
        except NotRun as lacking:
            outcome, words = Outcome.NOT_RUN, f"`dclib run {lacking} --profile small`"
        found.append(Judged(claim["text"], outcome, words))
    return found
