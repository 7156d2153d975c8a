"""Records of runs that nobody made, for pages and tables."""

import numpy as np

from dclib.experiments import profile, rows
from dclib.results import Record, pack_bits


def put(store, run, *, share=0.5, parameters=100):
    """A made-up record of `run`: `share` of 1000 images right at every level, a little less at each next one."""
    rng = np.random.default_rng(run.seed)
    correct = np.stack([rng.permutation(1000) < 1000 * (share - 0.02 * level) for level in range(7)])
    outcome = {
        "correct": pack_bits(correct),
        "parameters_trained": parameters,
        "accuracy": correct.mean(1).tolist(),
        "curve": [{"iteration": 10 * i, "loss": 1.0, "validation": [share] * 7} for i in range(1, 9)],
    }
    record = Record(
        run.description,
        outcome,
        {"seconds": 1.0, "peak_bytes": 1},
        {
            "device": "none",
            "commit": "abc",
            "torch": "0",
            "python": "0",
            "dclib": "0",
            "threads": 1,
            "date": "2026-01-01T00:00:00Z",
        },
    )
    store.put(record)
    return record


def put_baseline(store, target="table3", name="small", *, share=0.3):
    """The baseline under the distortion of a table, and its training: what the gate for trained networks asks for."""
    run = run_of("Baseline", target, name)
    put(store, run.base, share=share)
    return put(store, run, share=share)


def run_of(method, target="table3", name="small"):
    return rows(target, profile(name))[method][0]
