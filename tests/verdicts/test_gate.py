"""The one gate for trained networks: a claim rests on none that has not left its baseline or was still learning."""

import numpy as np
import pytest
from claim_records import Record, claim, judged, record

from dclib import paper
from dclib.experiments import TARGETS, imagenet, profile, rows
from dclib.results import pack_filters
from dclib.verdicts import gate, judgement
from dclib.verdicts.finding import Outcome
from dclib.verdicts.gate import Training, last_rise, obstacles
from dclib.verdicts.rule import Basis

FLAT = [{"iteration": 10 * i, "validation": [0.5] * 7} for i in range(1, 11)]


def networks(gap, images=2000):
    """A trained network and its baseline, `gap` apart in accuracy; errors of one are errors of the other."""
    hardness = np.random.default_rng(0).permutation(images) / images
    bits = [np.tile(hardness < 0.4 + g, (7, 1)) for g in (gap, 0)]
    return [Record(b.mean(1), b, 0, name) for b, name in zip(bits, ("trained", "baseline"))]


def training(gap=0.1, curve=FLAT, images=2000, stand_in=True):
    return Training("Deepcorr-1 blur", curve, images, *networks(gap), stand_in)


def curve(*values, every=10):
    return [{"iteration": every * (i + 1), "validation": [v] * 7} for i, v in enumerate(values)]


def test_a_line_rises_by_a_quarter_of_its_height_in_the_last_quarter():
    line = curve(*np.linspace(0.04, 0.4, 10))  # from 0 at the start
    assert last_rise(line) == pytest.approx(0.1)
    assert last_rise(curve(*[0.1] * 5, *[0.5] * 5)) == pytest.approx(0)  # it had learnt before
    assert last_rise(curve(0.1, 0.2, 0.3, 0.28)) == pytest.approx(-0.02)
    rng = np.random.default_rng(0)  # noise of single looks hardly moves it
    assert abs(last_rise(curve(*(0.5 + rng.normal(0, 0.005, 100))))) < 0.005


def test_too_few_looks_tell_nothing():
    assert last_rise([]) is None and last_rise(curve(0.5)) is None
    assert last_rise(curve(0.3, 0.5)) == pytest.approx(0.1)  # looks at 10 and 20 of 20: half of the rise between them


@pytest.mark.parametrize(
    "change, words",
    [
        ({"gap": 0.0}, "not clearly more than 0.01 away from the baseline, 0.0000"),
        ({"gap": 0.011}, "from the baseline"),
        ({"gap": -0.1}, "clearly below its baseline, -0.0995 [-0.1120"),
        ({"curve": curve(*np.linspace(0.04, 0.4, 10))}, "still rising, by 0.100"),
        ({"curve": []}, "too seldom"),
        ({"images": 999}, "999 images, not on 1,000"),
    ],
)
def test_obstacles(change, words):
    found = obstacles([training(**change)])
    assert len(found) == 1 and words in found[0] and found[0].startswith("Deepcorr-1 blur: ")
    whole = obstacles([training(**change, stand_in=False)])
    assert whole == (found if "the baseline" in words else [])  # of the paper's own scale only that is asked


def test_a_good_network_passes():
    assert obstacles([training()]) == [] and obstacles([training(stand_in=False)]) == []
    assert obstacles([Training("Baseline", FLAT, 2000, None, None, True)]) == []


def test_a_fall_is_a_finding_at_the_papers_own_scale_alone():
    """A network that training made worse: a stand-in tells nothing of it, and no second reason is needed."""
    rising = curve(*np.linspace(0.04, 0.4, 10))
    [why] = obstacles([training(gap=-0.1, curve=rising, images=20)])
    assert why.endswith("its training did not work at this scale")
    assert obstacles([training(gap=-0.1, curve=rising, images=20, stand_in=False)]) == []


def test_flat_is_relative_to_what_the_training_gained():
    """From 0.4 to 0.8, with 0.03 of it in the last quarter: done. From 0.4 to 0.5 with as much: not."""
    for end, done in ((0.8, True), (0.5, False)):
        late = curve(*np.linspace(end - 0.2, end - 0.03, 6), end - 0.015, end)
        assert (obstacles([training(curve=late)]) == []) == done
    annealed = [{"iteration": i, "validation": [0.7 * np.sin(np.pi * i / 200) ** 0.5]} for i in range(10, 101, 10)]
    assert obstacles([Training("Baseline", annealed, 2000, None, None, True)]) == []
    steady = curve(*np.linspace(0.07, 0.7, 10))
    assert len(obstacles([Training("Baseline", steady, 2000, None, None, True)])) == 1


def test_networks_with_one_obstacle_are_named_together():
    other = Training("Finetune-1 blur", FLAT, 20, *networks(0.1), True)
    assert obstacles([training(images=20), other, other]) == [
        "Deepcorr-1 blur and Finetune-1 blur: tested on 20 images, not on 1,000"
    ]


def test_every_network_of_a_claim_passes_the_gate():
    """Whatever is claimed: one network that never left its baseline, and nothing is judged."""

    def lookup(moved):
        def found(table, method):
            kept, _ = networks({"A": 0.2, "B": 0.1}[method])
            kept.training = training() if method == "A" or moved else training(gap=0.0)
            return [kept]

        return found

    for test in (
        claim("order", better="A", worse="B", over="average"),
        claim("similar", a="A", b="B", margin=0.2),
        claim("relative_improvement", 0.2, 1, a="A", b="B"),
        claim("significant", 0.01, 2, pairs=[["A", "B"]]),
    ):
        assert judged(test, lookup(True)).verdict != Outcome.OPEN
        verdict = judged(test, lookup(False))
        assert verdict.verdict == Outcome.OPEN and verdict.explanation.startswith("Deepcorr-1 blur: not clearly")
        assert verdict.ours is not None


def test_without_its_baselines_record_a_network_waits():
    test, (kept, _) = claim("order", better="A", worse="B", over="average"), networks(0.1)
    kept.training = Training("Deepcorr-1 blur", FLAT, 2000, kept, None, True)
    verdict = judged(test, lambda table, method: [kept])
    assert verdict.verdict == Outcome.NOT_RUN and "the baseline of Deepcorr-1 blur" in verdict.explanation


def fill(store, name, rise):
    """A record of every run of a profile; every trained network answers as its baseline does."""
    rng = np.random.default_rng(0)
    bits = rng.random((7, 2000)) < np.linspace(0.6, 0.2, 7)[:, None]
    looks = curve(*np.linspace(0.5 - 4 * rise, 0.5, 20))
    weights = rng.normal(size=(96, 3, 11, 11)).astype(np.float32)
    for target in TARGETS:
        for run in (run for runs in rows(target, profile(name)).values() for run in runs):
            for each in (run, *run.needs):
                outcome = {}
                if each.kind == "swap":
                    outcome = {
                        "accuracy": {layer: np.sort(rng.random((5, 6)), 0).tolist() for layer in each.layers},
                        "distorted_accuracy": [0.2] * 6,
                        "images": 1000,
                    }
                elif each.kind == "rank":
                    filters = {"conv1": 96} if each.network == "AlexNet" else {layer: 32 for layer in each.layers}
                    outcome = {
                        "swap_accuracy": {layer: rng.random((n, 6)).tolist() for layer, n in filters.items()},
                        "distorted_accuracy": [0.2] * 6,
                        "images": 1000,
                        "first_filters": pack_filters(weights),
                    }
                elif each.kind == "embed":
                    outcome = {"separation": [0.5] * 7, "images": 100}
                elif each.kind == "transfer":
                    outcome = {"accuracy": [0.4] * 7, "splits": [[0.4] * 7] * 5, "images": 5000}
                else:
                    outcome = {"hits": bits, "curve": looks}
                store.put(record(each, **outcome))


@pytest.mark.slow
def test_no_claim_rests_on_a_network_that_never_left_its_baseline(store):
    fill(store, "small", rise=0.0)
    judged_here = {claim["id"]: judgement.judge(claim, store)[0] for claim in paper.claims()}
    trained = {
        run.id
        for target in TARGETS
        for runs in rows(target, profile("small")).values()
        for run in runs
        for network in ([run] if run.kind == "train" else [run.base])
        if network and network.base is not None
    }
    resting = [v for v in judged_here.values() if trained & set(v.runs)]
    assert len(resting) > 60
    assert {v.verdict for v in resting} == {Outcome.OPEN}
    assert all(v.basis == Basis.MEASURED for v in resting)


def test_the_gate_reads_the_records(store):
    """The baseline is found by its distortion and seed, the curve in the record of the network itself."""
    scale, p = profile("small").imagenet, profile("small")
    hard = np.tile(np.arange(2000) < 800, (7, 1))
    easy = np.tile(np.arange(2000) < 1200, (7, 1))
    run = imagenet.finetune(scale, "blur")
    store.put(record(run, easy, curve=curve(*np.linspace(0.04, 0.4, 10))))
    found = judgement.training(run, store.get(run), p, store)
    assert found.baseline is None and found.stand_in
    store.put(record(imagenet.baseline_under(scale, "blur"), hard))
    found = judgement.training(run, store.get(run), p, store)
    assert found.baseline.accuracy == pytest.approx([0.4] * 7)
    assert gate.obstacles([found]) == [
        "Finetune-8 blur (imagenet20, seed 0): still rising, by 0.100 in the last quarter of its training"
    ]
