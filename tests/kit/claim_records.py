"""Claims and records made on the spot, whose effect is known."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dclib import results
from dclib.results import pack_bits
from dclib.verdicts import rule
from dclib.verdicts.gate import Training

IMAGES = 2000


@dataclass
class Record:
    accuracy: np.ndarray
    hits: np.ndarray | None
    seed: int = 0
    id: str = "run"
    stand_in: tuple = ()
    other_classes: str = ""
    classes: int | None = None
    test_images: int | None = None
    draws: np.ndarray | None = None
    test_to_train: float = 0.6
    other_width: str = ""
    short_training: str = ""
    choice: int | None = None
    training: Training | None = None
    other_method: str = ""

    @property
    def trainings(self):
        return (self.training,) if self.training else ()


@dataclass
class Shelf:
    """A lookup over records made on the spot: method -> accuracy per level.

    apart: how much lower every next seed of a method is than the one before, by method.
    """

    methods: dict
    seeds: int = 1
    bits: bool = True
    extra: dict = field(default_factory=dict)
    apart: dict = field(default_factory=dict)

    def __call__(self, table, method):
        if method not in self.methods:
            return []
        return [self.make(method, seed) for seed in range(self.seeds)]

    def make(self, method, seed):
        level = np.broadcast_to(np.asarray(self.methods[method], float), 7) - seed * self.apart.get(method, 0)
        if not self.bits:
            return Record(np.clip(level + 0.001 * (seed - 1), 0, 1), None, seed, f"{method}-{seed}", **self.extra)
        # One difficulty per image: networks of unequal accuracy differ on few images, as real ones do.
        hardness = np.random.default_rng(1).permutation(IMAGES) / IMAGES
        hits = hardness[None] < level[:, None]
        return Record(hits.mean(1), hits, seed, f"{method}-{seed}", **self.extra)


def nothing(*_):
    """What a source without an answer says."""
    return None


@dataclass
class Lookups:
    """A `Source` of functions, one for each of its methods."""

    records: Callable
    swaps: Callable = nothing
    measure: Callable = nothing
    parameters: Callable = nothing
    run_to_run: Callable = nothing


def judged(test, lookup, swaps=nothing, measure=nothing, parameters=nothing, *, deviation=1e-6):
    """The verdict on a claim where three seeds say how much an accuracy moves between trainings; None: no row has three."""
    moves = nothing if deviation is None else lambda table, level: (deviation, 4)
    return rule.judge(test, Lookups(lookup, swaps, measure, parameters, moves))


def claim(kind, paper=None, digits=None, **test):
    return dict(
        id="x",
        section="5",
        place="Table 3",
        claim="text",
        paper=paper,
        digits=digits,
        from_tables=paper,
        disagreement=None,
        test=dict(kind=kind, table=3, **test),
    )


def record(run, hits=None, **outcome):
    """A record of a run with these bits, as `results.Store` keeps it."""
    if hits is not None:
        outcome |= {
            "correct": pack_bits(hits),
            "correct_count": hits.sum(1).tolist(),
            "accuracy": hits.mean(1).tolist(),
            "parameters_trained": 1,
        }
    if run.kind == "train":
        outcome = {"curve": [], "best_iteration": 0} | outcome
    return results.Record(run.description, outcome, {"seconds": 1.0, "peak_bytes": 1}, {"device": "none", "commit": "none"})
