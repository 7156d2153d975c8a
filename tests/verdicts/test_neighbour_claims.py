"""Claims of neighbouring works, their tables and figures, from records that are made up."""

import re

import numpy as np
import pytest
from support import refused

from dclib import cli, figures, paper
from dclib.experiments import neighbours, profile, rows
from dclib.neighbours import detection
from dclib.results import Record, pack_bits, pack_filters
from dclib.tables import neighbours as shown
from dclib.verdicts import blur_claims, filter_claims, gate_claims
from dclib.verdicts.finding import Outcome
from dclib.verdicts.neighbouring import NotRun, regained
from dclib.verdicts.neighbours import WORKS, judged

SMALL, IMAGES = profile("small"), 400


def bits(*shares, seed=0):
    """Correctness [conditions, images]: images of low number are right first, so that differences are paired."""
    return np.random.default_rng(seed).permutation(IMAGES)[None] < IMAGES * np.array(shares)[:, None]


def put(store, run, outcome, cost=None):
    store.put(Record(run.description, outcome, {"seconds": 1.0} | (cost or {}), {"commit": "c", "device": "d"}))


def put_gate(store, *, blind=()):
    """Egregious errors are images with a high number; the gate sees them all, but for the conditions that it is blind to."""
    run, rng = neighbours.gate(), np.random.default_rng(0)
    egregious = ~bits(*(0.95 if name == "sharp" else 0.3 for name in run.conditions))
    suspicious = 2.0 * egregious + 0.1 * rng.normal(size=egregious.shape)
    for name in blind:
        suspicious[run.conditions.index(name)] = 0.1 * rng.normal(size=IMAGES)
    scores = {name: suspicious for name in ("quality", "student", "both", "confidence")}
    put(
        store,
        run,
        {
            "egregious": pack_bits(egregious),
            "wrong": pack_bits(egregious),
            "images": IMAGES,
            "scores": {name: pack_filters(values) for name, values in scores.items()},
            "calibration": {name: pack_filters(0.1 * rng.normal(size=200)) for name in scores},
        },
        {"seconds_per_image": {"network": 0.03, "student": 0.001, "quality": 0.01}},
    )
    return egregious, suspicious


def verdict_of(store, work, identifier):
    places = [claim["id"] for claim in paper.neighbours()[work]["claims"]]
    return judged(work, store)[places.index(identifier)]


@pytest.mark.parametrize("work", WORKS)
def test_every_claim_has_a_judge_and_says_how_it_is_run(store, work):
    claims = paper.neighbours()[work]["claims"]
    assert set(WORKS[work][1]) == {claim["id"] for claim in claims}
    found = judged(work, store)
    assert [one.claim for one in found] == [claim["text"] for claim in claims]
    waiting = [one for one in found if one.outcome is Outcome.NOT_RUN]
    assert len(waiting) >= 4 and all("dclib run" in one.words or "VOC2012" in one.words for one in waiting)
    assert all(one.claim in shown.verdicts(work, store) for one in found)


@pytest.mark.parametrize(
    "make",
    [
        shown.gate_conditions,
        shown.gate_detectors,
        shown.passing,
        shown.published_blurs,
        shown.tuned_answers,
        shown.deconvolved,
        shown.selected,
        shown.elected_against,
    ],
)
def test_tables_without_records_say_what_to_run(store, make):
    assert make(store).startswith("*Not run yet*: `dclib run ") and make(store).endswith("--profile small`.")
    with pytest.raises(NotRun):
        shown.cross_blur(store)
    assert [
        draw(store) for draw in (shown.gate_curves, shown.cross_blur_matrix, shown.moved, shown.few_samples, shown.pace)
    ] == 5 * [[]]


# ---------------------------------------------------------------- the gate


def test_a_gate_that_sees_everything(store):
    egregious, suspicious = put_gate(store)
    found = gate_claims.gate(store)
    assert found.rows("sharp") == [0] and len(found.rows("adversarial")) == 6
    assert found.rows("unseen adversarial") == [
        i for i, name in enumerate(found.conditions) if name.startswith(("pgd", "fgsm 2"))
    ]
    assert len(found.rows("seen distorted")) == 6 and len(found.rows("unseen distorted")) == 8
    area = found.area("both", [3, 4], egregious=True)
    assert area.estimate == pytest.approx(detection(suspicious[3:5], egregious[3:5]).area, abs=1e-3)
    assert area.low <= area.estimate <= area.high <= 1
    share = gate_claims.share_refused(found, [3, 4], egregious=True)
    assert share.estimate == 1 and share.low == 1
    for identifier in ("gate-egregious", "gate-poor", "gate-adversarial"):
        assert verdict_of(store, "feng2020towards", identifier).outcome is Outcome.DIRECTION  # one gate was trained
    assert verdict_of(store, "feng2020towards", "gate-vulnerable").outcome is Outcome.HOLDS
    assert "(0%)" in shown.passing(store) and shown.gate_conditions(store).count("\n") == 1 + len(found.conditions)
    assert "30.0" in shown.gate_detectors(store)
    assert "area 1.000" in shown.gate_curves(store)[0].alt_text


def test_a_gate_that_misses_attacks(store):
    put_gate(store, blind=[name for name in neighbours.UNSEEN if name.startswith(("pgd", "fgsm"))])
    assert verdict_of(store, "feng2020towards", "gate-adversarial").outcome is Outcome.INCONCLUSIVE
    assert verdict_of(store, "feng2020towards", "gate-poor").outcome is Outcome.DIRECTION
    assert "pgd" in shown.passing(store)


# ---------------------------------------------------------------- blur


def put_blur(store, mix=0.6, weak=False):
    for side in neighbours.SIDES:
        falling = np.linspace(0.9, 0.4, len(neighbours.PUBLISHED_BLURS))
        put(
            store,
            neighbours.published_blurred(side),
            {
                "among_five": pack_bits(bits(*falling)),
                "correct": pack_bits(bits(*(falling - 0.2))),
                "images": IMAGES,
                "confidence": falling.tolist(),
                "entropy": (1 - falling).tolist(),
            },
        )
    count = len(neighbours.TEST_BLURS)
    for label, (run,) in rows("blur_tuning", SMALL).items():
        kinds = {"not tuned": 0.2, "sharp": 0.2, "mix": mix}
        right = [0.7]
        for name in neighbours.TEST_BLURS:
            kind = next(k for k, names in neighbours.TESTED_ON.items() if name in names)
            right.append(kinds.get(label, 0.6 if kind == label else 0.4))
        put(
            store,
            run,
            {
                "correct": pack_bits(bits(*right)),
                "among_five": pack_bits(bits(*right)),
                "images": IMAGES,
                "confidence": right,
                "entropy": [0.2 * (label == "mix")] + [0.5 + 0.4 * (label == "mix")] * count,
                "moved": {layer: [0.0] + count * [0.9 - 0.3 * (label == "mix")] for layer in run.layers},
            },
        )
    put(
        store,
        neighbours.deblurred(SMALL),
        {
            "correct": {
                "blurred": pack_bits(bits(*count * [0.2])),
                "wiener": pack_bits(bits(*count * [0.45])),
                "richardson-lucy": pack_bits(bits(*count * [0.3])),
            },
            "strengths": {"wiener": 0.01, "richardson-lucy": 10},
            "tried": {},
            "images": IMAGES,
        },
        {"seconds_per_image": {"network": 0.001, "wiener": 0.02, "richardson-lucy": 0.03}},
    )


def test_a_tuning_that_does_what_the_study_says(store):
    put_blur(store)
    found = {
        claim["id"]: one
        for claim, one in zip(
            paper.neighbours()["vasiljevic2016examining"]["claims"], judged("vasiljevic2016examining", store), strict=True
        )
    }
    assert {k for k, v in found.items() if v.outcome is Outcome.HOLDS} == {"blur-hurts", "blur-size", "blur-cost"}
    assert {k for k, v in found.items() if v.outcome is Outcome.DIRECTION} == {
        "blur-mix",
        "blur-sharp",
        "blur-transfer",
        "blur-imperfect",
        "blur-layers",
        "blur-deconvolution",
        "blur-confidence",
    }
    assert "80%" in found["blur-mix"].words
    values, tuned, tested = shown.cross_blur(store)
    assert values.shape == (7, 5) and values[tuned.index("motion"), tested.index("motion")] == pytest.approx(0.6)
    assert "wiener (0.01)" in shown.deconvolved(store) and "0.900" in shown.published_blurs(store)
    assert shown.tuned_answers(store).count("\n") == 8
    assert "motion: sharp 0.700" in shown.cross_blur_matrix(store)[0].alt_text
    assert "tuned on mix ends where it starts, at 0.600" in shown.moved(store)[0].alt_text


def test_one_that_does_not(store):
    put_blur(store, mix=0.25)
    assert verdict_of(store, "vasiljevic2016examining", "blur-mix").outcome is Outcome.INCONCLUSIVE
    assert verdict_of(store, "vasiljevic2016examining", "blur-deconvolution").outcome is Outcome.INCONCLUSIVE


def test_what_came_back_is_a_share_of_the_loss():
    found = regained(bits(0.8), bits(0.2), bits(0.5))
    assert found.estimate == pytest.approx(0.5) and found.low < 0.5 < found.high
    assert blur_claims.under("all") == list(range(1, 13)) and blur_claims.under("Gaussian") == [1, 2]


# ---------------------------------------------------------------- selected filters


def put_selected(store, elected=0.5):
    for label, (run,) in rows("selected_filters", SMALL).items():
        way = next((w for w in neighbours.WAYS if w in label), "")
        level = {"": 0.2, neighbours.ELECTED: elected}.get(way, 0.4)
        curve = [{"iteration": i, "loss": 1.0, "validation": 4 * [level * i / 120]} for i in range(20, 121, 20)]
        put(store, run, {"correct": pack_bits(bits(0.7, level, level, level)), "curve": curve})
        if run.ranking:
            points = {layer: (300 * np.arange(8.0)).tolist() for layer in run.layers[:3]}  # all voters have one order
            put(store, run.ranking, {"points": points, "voters": 300, "images": 100})


def test_elected_filters_that_do_what_the_study_says(store):
    put_selected(store)
    outcomes = [one.outcome for one in judged("bianchi2019improving", store)]
    assert outcomes == [Outcome.HOLDS, Outcome.HOLDS, Outcome.DIRECTION, Outcome.DIRECTION, Outcome.DIRECTION, Outcome.OPEN]
    table = shown.selected(store)
    assert table.count("\n") == 2 + len(neighbours.WAYS) and "9,696 and 2,520" in table and "0.550" in table
    assert "| random filters | +0.075 (" in shown.elected_against(store)
    assert len(shown.few_samples(store)) == len(shown.pace(store)) == 4


def test_and_ones_that_do_not(store):
    put_selected(store, elected=0.25)
    outcomes = [one.outcome for one in judged("bianchi2019improving", store)][2:5]
    assert outcomes == [Outcome.INCONCLUSIVE] * 3
    assert len(filter_claims.CONDITIONS) == 4


# ---------------------------------------------------------------- on the command line


def test_the_command_line_shows_what_has_no_accuracy_per_level(store, capsys):
    def said(target):
        assert cli.main(["show", target, "--profile", "small", "--results", str(store.folder)]) == 0
        return capsys.readouterr().out

    assert "not run yet" in said("gate") and "not run yet" in said("blur_deconvolution")
    put_gate(store)
    put_blur(store)
    assert re.search(r"^gaussian 2 +here, small +0\.3000 +0\.7000 +0\.7", said("gate"), re.MULTILINE)
    assert re.search(r"^gaussian 0\.75 +here, small +0\.2000 +0\.4500 +0\.3000", said("blur_deconvolution"), re.MULTILINE)


# ---------------------------------------------------------------- figures


def test_figures_say_what_they_show():
    found = detection(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    drawn = figures.roc({"gate": (found.false_alarms, found.detected, found.area)}, "here")
    assert "gate: area 1.000, 100% detected" in drawn.alt_text
    drawn = figures.matrix(np.array([[0.1, 0.9]]), ["mix"], ["sharp", "motion"], "here")
    assert "mix: sharp 0.100, motion 0.900" in drawn.alt_text
    drawn = figures.over_layers({"not tuned": [0.1, 0.4]}, ["conv1", "conv2"], "here")
    assert "rises from 0.100 to 0.400" in drawn.alt_text
    drawn = figures.over_images({"all layers": [0.2, 0.3, 0.4]}, [100, 500, 5000], "here", 0.1)
    assert "100 to 5,000 training images" in drawn.alt_text
    with refused("1x2"):
        figures.matrix(np.zeros((2, 2)), ["mix"], ["sharp", "motion"], "here")
