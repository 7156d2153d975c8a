"""The order in which runs are made: by value, each after its needs, others first where one has to wait."""

import dataclasses

import pytest
from support import BASE, DEEP, RANKING

from dclib.execution.queueing import Queue
from dclib.experiments import profile, queue

OTHER = dataclasses.replace(BASE, seed=1)
RUNS = [BASE, RANKING, DEEP, OTHER]


def queue_of(runs=RUNS, there=(), **options):
    there = {run.id for run in there}
    return Queue(runs, lambda run: run.id in there, **options), there


def test_each_run_after_what_it_needs():
    line, _ = queue_of()
    assert line.take() == BASE
    assert line.take() == OTHER  # the others wait for the baseline
    assert line.take() is None and line.taken == [BASE, OTHER]
    line.finish(BASE)
    assert line.take() == RANKING and line.take() is None
    line.finish(RANKING)
    assert line.take() == DEEP and (line.done, line.left) == (2, 2)
    for run in (DEEP, OTHER):
        line.finish(run)
    assert line.take() is None and not line.waiting and (line.done, line.left) == (4, 0)


def test_what_was_not_asked_for_is_made_first_but_not_counted():
    line, _ = queue_of([DEEP])
    taken = []
    while run := line.take():
        taken.append(run)
        line.finish(run)
        assert line.done + line.left == 1
    assert taken == [BASE, RANKING, DEEP]


def test_records_are_not_made_again_and_what_they_need_is_not_made():
    assert queue_of(there=[DEEP, BASE])[0].take() == RANKING
    line, _ = queue_of([DEEP], there=[DEEP])
    assert line.take() is None and line.done == 1


def test_again_means_the_wanted_runs_alone():
    line, _ = queue_of([DEEP], there=RUNS, again=True)
    assert line.take() == DEEP and line.take() is None
    line, _ = queue_of([RANKING, DEEP], there=RUNS, again=True)
    assert line.take() == RANKING and line.take() is None


def test_what_is_given_back_is_next():
    line, _ = queue_of()
    line.take(), line.take()
    line.give_back(BASE)
    assert line.take() == BASE


def test_others_are_made_first_while_somebody_else_makes_one():
    line, there = queue_of()
    line.leave_to_others(line.take())
    assert line.take() == OTHER and line.take() is None
    line.look_again()  # not there yet
    assert line.take() == BASE
    line.leave_to_others(BASE)
    there.add(BASE.id)
    line.look_again()
    assert line.take() == RANKING


def test_what_somebody_else_made_meanwhile_is_not_taken():
    line, there = queue_of()
    there |= {BASE.id, RANKING.id}
    assert line.take() == DEEP and (line.done, line.left) == (2, 2)


def test_with_a_run_fails_all_that_needs_it():
    line, _ = queue_of()
    line.fail(line.take())
    assert line.failed.keys() == {BASE.id, RANKING.id, DEEP.id}
    assert line.take() == OTHER and (line.done, line.left) == (0, 1)


@pytest.mark.parametrize("jobs", [1, 3, 100])
def test_a_whole_profile_with_several_jobs(jobs):
    runs = queue(("table3", "table5", "figure4"), profile("miniature"))
    line, there = queue_of(runs)
    under_way, order = [], []
    while line.waiting:
        while len(under_way) < jobs and (run := line.take()):
            assert {needed.id for needed in run.needs} <= there
            under_way.append(run)
            order.append(run)
        run = under_way.pop(0)
        there.add(run.id)
        line.finish(run)
    assert len(order) == len(runs) == line.done
    if jobs == 1:
        assert order == runs
