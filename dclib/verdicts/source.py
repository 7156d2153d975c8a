"""What verdicts ask of whoever has the records: a `Source`, and what it answers with. Nothing is looked up here.

`judgement.Records` is the source over a `Store`; tests have others, such as the paper's own tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dclib.experiments import StandIn


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """What evidence stands in for, in words; all empty in profile paper.

    other_classes: "20 classes instead of 1000". other_width, short_training: likewise. other_method: what was run in place of
    the paper's method. trainings: the trained networks behind it, each a `gate.Training`.
    """

    stand_in: tuple[StandIn, ...] = ()
    other_classes: str = ""
    other_width: str = ""
    short_training: str = ""
    other_method: str = ""
    trainings: tuple = ()


@dataclass(frozen=True)
class Measure(Sourced):
    """A number that a figure's own notebook measures.

    interval: over images or what stands for them; None where there is none. exact: no chance is in it. unreplicated: another
    training may move it by nobody knows how much; where None, so is a value that has no interval and is not exact.
    runs: ids of the records. seeds: how many; one where None and there are runs. published: it rests on the authors' data.
    notes: added to the explanation. words: said instead of a number. undecided: why the value cannot judge the claim.
    networks: the (run, record) pairs whose training the gate asks about.
    """

    value: float
    interval: tuple[float, float] | None = None
    exact: bool = False
    unreplicated: bool | None = None
    runs: tuple[str, ...] = ()
    seeds: int | None = None
    published: bool = False
    notes: Sequence[str] = ()
    words: str = ""
    undecided: str = ""
    networks: tuple = ()


class Swaps(dict):
    """{layer: accuracy [fractions, levels]} of Figures 4 and 5, with the runs behind it and what they stand in for.

    `images` is how many were swapped on, `before` the accuracy without any swap, `after` per record {layer: which images
    are right, bool [fractions, levels, images]}, empty where a record does not keep them. The rest as in `Sourced`.
    """

    runs: tuple[str, ...] = ()
    images: int | None = None
    before: np.ndarray | None = None
    after: tuple[dict[str, np.ndarray], ...] = ()
    stand_in: tuple[StandIn, ...] = ()
    other_classes = other_width = short_training = other_method = ""
    trainings: tuple = ()


class Source(Protocol):
    """Where the evidence for claims is found.

    Methods are the paper's, with a word added where a table needs one: "global blur" (Table 5), "ranked_48 awgn",
    "random_48 blur", "ranked_48_least blur" (Table 6 and Figure 9; each draw of random filters is one record), "Deepcorr-5
    sun397" (Tables 13 to 15). `rule.required` lists what a claim needs.
    """

    def records(self, table: int, method: str) -> Sequence[Any]:
        """The records of a row, one per seed; empty if there are none.

        A record has what `Sourced` has, and accuracy (float [levels]), hits (bool [levels, images], or None where accuracy
        is no mean over images), id, seed, choice (the number of a random choice of filters, or None), test_images (per class;
        None for all), classes, and where accuracies are means of random splits draws (float [draws, levels], of the same
        images for the same seed; else None) and test_to_train (images of a split).
        """

    def swaps(self, dataset: str, distortion: str) -> Swaps | None:
        """The curves of Figures 4 and 5."""

    def measure(self, test: Mapping) -> Measure | None:
        """What a claim's test of kind "measure" asks for in data/paper/claims.json."""

    def parameters(self, table: int, method: str) -> int | None:
        """How many parameters a method trains in profile paper: counted, not measured."""

    def run_to_run(self, table: int, level: int | None) -> tuple[float, int] | None:
        """The deviation of an accuracy from one training to the next, at one level or (None) in the mean, and how many rows
        with three seeds it comes from."""
