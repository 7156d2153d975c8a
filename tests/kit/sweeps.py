"""A small sweep with every kind of run of Table 3, and whether its records are those of another one."""

import dataclasses
import sys

import numpy as np

from dclib.experiments import baseline, profile, queue
from dclib.results import pack_bits

METHODS = ("Baseline", "Finetune-1", "Algorithm 1", "Deepcorr-1")


def some_runs():
    """Baseline, its accuracy under blur, Finetune-1, the ranking and Deepcorr-1: every kind of run of Table 3."""
    return [run for run in queue(("table3",), profile("smoke")) if run.method in METHODS]


def check_same(store, expected):
    """Complete, valid, and equal in all that a record's description decides."""
    found = {r.id: r for r in store.records()}
    assert found.keys() == {run.id for run in some_runs()} == {r.id for r in expected.records()}
    for record in expected.records():
        assert found[record.id].description == record.description
        assert found[record.id].outcome == record.outcome


def with_another_baseline(record, store):
    """As where the recorded network was trained on a processor that rounds otherwise, and is not at hand."""
    run = baseline(profile("smoke"))
    correct = np.zeros_like(record.hits)
    store.put(dataclasses.replace(record, outcome=record.outcome | {"correct": pack_bits(correct)}))
    return run


def command_of(store, *words):
    """The command that runs with these words in the profile smoke, into the folder of `store`."""
    fixed = ["--profile", "smoke", "--device", "cpu", "--results", str(store.folder)]
    return [sys.executable, "-m", "dclib", "run", *words, *fixed]
