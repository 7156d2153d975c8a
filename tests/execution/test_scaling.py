"""The arithmetic of more machines, against cases that can be reckoned by hand."""

import dataclasses
import math

import pytest
from support import BASE, RANKING, record_of

from dclib.execution.scaling import IMAGE, Machine, Training, clients_link, longest_chain, makespan
from dclib.experiments import HALVES, profile, queue
from dclib.results import Store, published
from dclib.tables import scaling

TRAINING = Training(iterations=10, batch=64, multiply_adds=10**9, parameters=10**6, trained=10**6, looked_at=100)
#: One that does nothing but compute.
IDEAL = Machine(operations=1e12, gpus=10**6, within=math.inf, between=math.inf, latency=0.0, disk=math.inf)


def test_runs_beside_each_other():
    runs = [dataclasses.replace(BASE, seed=seed) for seed in range(5)]
    assert [makespan(runs, lambda run: 2.0, machines) for machines in (1, 2, 5, 9)] == [10.0, 6.0, 2.0, 2.0]
    assert longest_chain(runs, lambda run: 2.0) == 2.0


def test_a_run_waits_for_what_it_needs():
    other = dataclasses.replace(BASE, seed=7)
    cost = {BASE.id: 3.0, RANKING.id: 4.0, other.id: 5.0}
    for machines, expected in ((1, 12.0), (2, 7.0), (8, 7.0)):
        assert makespan([BASE, RANKING, other], lambda run: cost[run.id], machines) == expected
    assert longest_chain([RANKING, other], lambda run: cost[run.id]) == 7.0


def test_the_bounds_of_any_schedule_hold_for_the_half():
    runs = queue(HALVES["cifar100"], profile("small"))
    cost = {run.id: 1.0 + int(run.id[:4], 16) % 97 for run in runs}
    chain, work = longest_chain(runs, lambda run: cost[run.id]), sum(cost.values())
    times = [makespan(runs, lambda run: cost[run.id], machines) for machines in (1, 4, 16, 10**4)]
    assert times[0] == work and times[-1] == chain
    for machines, time in zip((4, 16), times[1:]):  # Graham's bound for any list of jobs
        assert max(chain, work / machines) <= time <= work / machines + chain


def test_an_ideal_machine_halves_the_network_alone():
    parts = [TRAINING.parts(gpus, IDEAL) for gpus in (1, 2)]
    assert parts[0] == {"network": 10 * 64 * 6 * 1e9 / 1e12, "reading": 0.0, "exchange": 0.0, "looks": 100 * 2e9 / 1e12}
    assert parts[1]["network"] == parts[0]["network"] / 2 and parts[1]["looks"] == parts[0]["looks"]


def test_what_a_real_one_adds():
    machine = dataclasses.replace(IDEAL, gpus=2, within=1e9, between=1e8, latency=1e-3, disk=1e8)
    two, four = (TRAINING.parts(gpus, machine) for gpus in (2, 4))
    assert two["reading"] == pytest.approx(10 * 64 * IMAGE / 1e8) == pytest.approx(2 * four["reading"])
    assert two["exchange"] == pytest.approx(10 * 2 * (2e6 / 1e9 + 1e-3))  # half of the gradients, twice
    assert four["exchange"] == pytest.approx(10 * 6 * (1e6 / 1e8 + 1e-3))


def test_where_it_ends():
    slow = dataclasses.replace(IDEAL, latency=1.0)
    assert TRAINING.worth_it(slow) == 1
    training = dataclasses.replace(TRAINING, looked_at=0)
    # An iteration takes 384 ms / n and 2 (n - 1) ms: 102 on 4 GPUs, 62 on 8, 54 on 16, which is 1.2 times as fast no more.
    assert training.worth_it(dataclasses.replace(IDEAL, latency=1e-3)) == 8
    assert clients_link(10**6, 100.0) == 2 * 3 * 4e6 / 100


def test_page_names_assumptions_and_ends(store):
    text = scaling.page(published())
    for words in ("62,500 iterations of 256", "| 64 |", "| 100 |", "Assumed: 100 TFLOP/s", "longest chain", "not run yet"):
        assert words in text
    store.put(record_of(BASE))
    assert "*Not run yet*: no record" in scaling.page(Store(store.folder / "empty"))
