"""How long runs will take, from the costs of like ones, and the line that says it."""

import dataclasses
import io

import pytest
from support import BASE, DEEP, RANKING

from dclib.execution import progress
from dclib.execution.environment import device_name
from dclib.execution.forecast import Forecast, duration
from dclib.execution.progress import Progress
from dclib.execution.queueing import Queue
from dclib.experiments import Run
from dclib.results import Record

HERE = device_name("cpu")


def record(run, seconds, peak=None, device=HERE):
    cost = {"seconds": seconds} | ({"peak_bytes": peak} if peak else {})
    return Record(run.description, {}, cost, {"device": device})


def longer(run, iterations, **changes):
    return dataclasses.replace(run, schedule=dataclasses.replace(run.schedule, iterations=iterations), **changes)


# ---------------------------------------------------------------- forecasts


def test_time_grows_with_the_work():
    known = Forecast([record(BASE, 100.0)])
    assert known.seconds(BASE) == pytest.approx(100)
    assert known.seconds(longer(BASE, 400, seed=3)) == pytest.approx(1000)
    twice = dataclasses.replace(BASE, schedule=dataclasses.replace(BASE.schedule, batch_size=16))
    assert known.seconds(twice) == pytest.approx(200)
    known = Forecast([record(RANKING, 60.0)])
    assert known.seconds(dataclasses.replace(RANKING, ranking_images=6, seed=9)) == pytest.approx(180)


def test_of_several_the_one_in_the_middle():
    assert Forecast([record(longer(BASE, 40, seed=s), t) for s, t in enumerate((10, 90, 11))]).seconds(BASE) == 11


def test_the_same_method_before_the_same_family():
    other = dataclasses.replace(DEEP, method="Deepcorr-6")
    assert Forecast([record(other, 70.0)]).seconds(DEEP) == pytest.approx(70)
    assert Forecast([record(other, 70.0), record(DEEP, 20.0)]).seconds(DEEP) == pytest.approx(20)


@pytest.mark.parametrize("change", [{"dataset": "cifar100"}, {"width": 96}, {"network": "AlexNet"}, {"kind": "evaluate"}])
def test_nothing_is_known_of_other_runs(change):
    assert Forecast([record(dataclasses.replace(BASE, **change), 5.0)]).seconds(BASE) is None


def test_an_evaluation_of_some_images_tells_nothing_of_one_of_all():
    some = Run("evaluate", "BM3D", "d", "f", 10, 2, 0, "awgn", (1.0,), base=BASE, test_images=2, restoration="bm3d")
    assert Forecast([record(some, 5.0)]).seconds(dataclasses.replace(some, test_images=None)) is None
    assert Forecast([record(some, 5.0)]).seconds(dataclasses.replace(some, test_images=20)) == pytest.approx(50)
    assert Forecast([record(some, 5.0)]).seconds(dataclasses.replace(some, restoration="")) is None


def test_this_machine_before_others():
    assert Forecast([record(BASE, 5.0, device="another")]).seconds(BASE) == pytest.approx(5)
    assert Forecast([record(BASE, 5.0, device="another"), record(BASE, 8.0)]).seconds(BASE) == pytest.approx(8)


@pytest.mark.parametrize("card", ["NVIDIA H200", "Tesla T4", "AMD Instinct MI250X"])
def test_a_graphics_card_tells_nothing_of_a_processor(card):
    assert Forecast([record(BASE, 5.0, device=card)]).seconds(BASE) is None


def test_a_processor_with_graphics_is_a_processor():
    known = Forecast([record(BASE, 5.0, device="AMD Ryzen 7 5700G with Radeon Graphics")])
    assert known.seconds(BASE) == pytest.approx(5)


def test_records_without_a_cost_are_left_out():
    assert Forecast([Record(BASE.description, {}, {}, {}), record(BASE, 0.0)]).seconds(BASE) is None


def test_memory_is_the_least_that_a_like_run_was_seen_with():
    other = dataclasses.replace(DEEP, method="Deepcorr-6", seed=5)
    known = Forecast([record(DEEP, 1.0, 3e9), record(dataclasses.replace(DEEP, seed=2), 1.0, 2e9), record(other, 1.0, 4e9)])
    assert known.bytes(DEEP) == 2e9
    assert known.bytes(dataclasses.replace(DEEP, method="Deepcorr-3")) == 4e9


def test_a_guess_of_memory_grows_with_the_network():
    nothing = Forecast([])
    assert 1e9 < nothing.bytes(BASE) < nothing.bytes(dataclasses.replace(BASE, width=96))
    assert nothing.bytes(dataclasses.replace(BASE, network="AlexNet", width=0)) > 5e9


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0 s"),
        (59, "59 s"),
        (59.6, "1 min"),
        (89, "1 min"),
        (3599, "1 h 00 min"),
        (12000, "3 h 20 min"),
        (172800, "2 d 0 h"),
        (190800, "2 d 5 h"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


# ---------------------------------------------------------------- the line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def line_of(stream, records=(), jobs=1):
    line = Progress(Queue([BASE, RANKING, DEEP], lambda run: False), Forecast(records), jobs, stream)
    return line


def test_one_line_for_all_jobs(clock):
    other = dataclasses.replace(BASE, seed=1)
    line = Progress(
        Queue([BASE, other, RANKING], lambda run: False),
        Forecast([record(BASE, 100.0), record(RANKING, 600.0)]),
        2,
        io.StringIO(),
    )
    assert line.line().startswith("0 of 3 runs; about 10 min left, until ")  # no shorter than the longest
    for run in (line.queue.take(), line.queue.take()):
        line.begin(run)
    line.report(BASE, 10, 40, "loss 2.000")
    line.report(other, 4, 8)
    assert line.line().startswith("0 of 3 runs; Baseline 25 % loss 2.000, Baseline 50 %; about 10 min left, until ")
    line.end(BASE)
    line.queue.finish(BASE)
    assert line.line().startswith("1 of 3 runs; Baseline 50 %; ")
    assert "unknown" not in line.line()


def test_runs_of_which_nothing_is_known(clock):
    assert line_of(io.StringIO()).line() == "0 of 3 runs; 3 runs of unknown length"
    line = line_of(io.StringIO(), [record(BASE, 100.0), record(DEEP, 100.0)])
    assert "about 3 min left" in line.line() and line.line().endswith("; 1 run of unknown length")


def test_a_run_under_way_tells_its_own_pace(clock):
    line = line_of(io.StringIO(), [record(BASE, 100.0)])
    line.begin(line.queue.take())
    line.report(BASE, 20, 40)  # from a checkpoint
    assert line.left()[0] == pytest.approx(50)
    clock[0] += 90
    line.report(BASE, 30, 40)
    assert line.left()[0] == pytest.approx(90)


def test_a_terminal_is_redrawn_and_a_log_gets_a_line_a_minute(clock):
    for stream, step, count in ((Terminal(), 1.0, 10), (io.StringIO(), 30.0, 5)):
        line = line_of(stream)
        line.begin(line.queue.take())
        for number in range(10):
            clock[0] += step
            line.report(BASE, number, 40)
        text = stream.getvalue()
        if stream.isatty():
            assert text.count("\r\033[K") == count and "\n" not in text
            line.clear()
            assert stream.getvalue() == text + "\r\033[K"
        else:
            assert text.count("\n") == count and "\r" not in text
            line.clear()
            assert stream.getvalue() == text


def test_a_line_is_no_wider_than_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    line = line_of(stream)
    clock[0] += 1
    line.begin(line.queue.take())
    assert stream.getvalue() == "\r\033[K" + line.line()[:29]
