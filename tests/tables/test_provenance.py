"""What a caption says of trainings: lengths, augmentation and clean accuracy, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from dclib import experiments, tables
from dclib.experiments import efficientnet, imagenet, profile
from dclib.results import Record, pack_bits
from dclib.tables import provenance


def put(store, run, share):
    correct = np.arange(100)[None] < 100 * share
    record = Record(
        run.description,
        {"accuracy": [share], "correct": pack_bits(correct)},
        {"seconds": 1.0},
        {"commit": "abc", "device": "cpu"},
    )
    store.put(record)
    return record


def cifar(iterations, batch, augmentation="rotate-shift-flip", name="small"):
    p = profile(name)
    schedule = replace(p.finetune, iterations=iterations, batch_size=batch, augmentation=augmentation)
    return replace(
        p,
        baseline=replace(p.baseline, iterations=1400, batch_size=256, augmentation=augmentation),
        finetune=schedule,
        deepcorrect=schedule,
    )


def test_passes_are_images_over_training_images(store):
    """1400 batches of 256 and 500 of 250, of 45,000 images: 7.96 and 2.78 passes."""
    run = experiments.method_run(cifar(500, 250), "Deepcorr-3", "blur")
    assert provenance.training([run], store) == (
        "baseline 8.0 passes over 45,000 training images; each other network 2.8 passes over 45,000 training images; "
        "augmentation rotate-shift-flip"
    )


def test_another_augmentation_is_named_beside_the_released_one(store):
    run = experiments.method_run(cifar(500, 250, "pad-crop-flip"), "Finetune-1", "awgn")
    assert provenance.training([run], store).endswith("augmentation pad-crop-flip, released rotate-shift-flip")


@pytest.mark.parametrize("shares, mean", [((0.42,), "0.420"), ((0.40, 0.45), "0.425")])
def test_clean_accuracy_comes_from_the_records_of_the_baselines(store, shares, mean):
    p = cifar(500, 250)
    runs = [experiments.method_run(p, "Finetune-1", "blur", seed) for seed in (0, 1)]
    assert "accuracy" not in provenance.training(runs, store)
    for seed, share in enumerate(shares):
        put(store, experiments.baseline(p, seed), share)
    assert f"clean accuracy {mean} (the paper's 0.7028)" in provenance.training(runs, store)


def test_what_trains_nothing_but_its_baseline_says_no_more(store):
    said = provenance.training([experiments.swaps(cifar(500, 250), "blur")], store)
    assert said.startswith("baseline 8.0 passes") and "each other" not in said


def test_photographs_are_counted_by_their_patches(store):
    p = profile("miniature")
    said = provenance.training([experiments.method_run(p, "Finetune-1", "blur")], store)
    assert f"over {p.photographs[0] * p.classes:,} training images" in said


def test_alexnet_has_images_seen_and_their_share(store):
    """2,000 images of 62,500 batches; the first point of Figure 12 lies at iteration 1250, a fiftieth of them."""
    small = profile("small").imagenet
    scale = replace(small, finetune=replace(small.finetune, iterations=40, batch_size=50))
    run = imagenet.finetune(scale, "blur")
    put(store, imagenet.baseline(scale), 0.77)
    said = provenance.training([run], store)
    whole = profile("paper").imagenet.finetune
    share = 100 * 2000 / (whole.iterations * whole.batch_size)
    assert f"each other network 2,000 images seen, {share:.2g} % of the paper's and {50 * share:.2g} % of those" in said
    assert "clean accuracy 0.770;" in said  # 20 classes do not compare with the paper's 1000


def test_the_papers_own_scale_has_no_share(store):
    assert "%" not in provenance.training([imagenet.finetune(profile("paper").imagenet, "blur")], store)


@pytest.mark.parametrize("target", ["table3", "figure4", "table7", "table14"])
def test_source_lines_say_how_long_was_trained(store, target):
    runs = [run for of in experiments.rows(target, profile("small")).values() for run in of]
    put(store, runs[0], 0.5)
    line = tables.source_line(target, "small", store)
    assert provenance.training(runs[:1], store) in line and "baseline" in line


def test_a_published_network_was_not_trained_here(store):
    """EfficientNet-Lite0 is retrained from weights that others made: no row of it is a baseline that saw images here."""
    runs = [efficientnet.ROWS[label]("blur") for label in ("Baseline", "Finetune", "Deepcorr without labels")]
    for run in runs:
        put(store, run, 0.5)
    assert provenance.training(runs, store) == "each retrained network 4,800 images seen; augmentation none"
