"""Records of filters chosen by joint swaps, with accuracies that a test asks for."""

import numpy as np
from support import BASE

from dclib.experiments import FRACTIONS, Run
from dclib.results import Record, pack_bits

RUN = Run(
    "select",
    "Joint swaps in conv2",
    "photographs",
    "f" * 64,
    19,
    8,
    0,
    "blur",
    (0.5, 2.0),
    layers=("conv2",),
    ranking_images=2,
    ranking_split="train",
    fractions=FRACTIONS,
    base=BASE,
)


def record(single, jointly, run=None, images=400):
    """A record whose orders give these accuracies at `FRACTIONS`, at both levels, each by the same images first."""
    run = run or RUN

    def bits(accuracies):
        return np.arange(images) < images * np.array(accuracies)[:, None, None] * np.ones((1, len(run.sigmas), 1))

    after = {"joint": bits(jointly), "single": bits(single)}
    held_out = {
        "images": images,
        "counts": [1, 2, 4, 6, 7],
        "distorted_accuracy": [0.1] * len(run.sigmas),
        "accuracy": {name: those.mean(-1).tolist() for name, those in after.items()},
        "correct_after": {name: pack_bits(those) for name, those in after.items()},
    }
    outcome = {
        "order": {run.layers[0]: [7, 0, 6, 1, 5, 2, 4, 3]},
        "images": 38,
        "held_out": held_out,
        "swap_accuracy": {run.layers[0]: [[0.9 - 0.1 * f] * len(run.sigmas) for f in range(8)]},
    }
    return Record(run.description, outcome, {"seconds": 1.0}, {"device": "a machine", "commit": "abc"})
