"""The ImageNet half: its runs, and how its networks and mini-batches are made."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from claim_records import record
from safetensors.torch import save
from support import refused

from dclib import execution, models, paper, restoration, tables
from dclib.correction import correct
from dclib.datasets import Collection, Dataset, Split
from dclib.evaluation import hits_per_level
from dclib.experiments import HALVES, NETWORKS, TARGETS, Run, imagenet, in_words, profile, queue, rows, stand_in
from dclib.experiments.imagenet import ALEXNET_FILTERS, ALEXNET_UNITS
from dclib.experiments.networks import other_classes, trained_parameters
from dclib.figures import class_difference, filters
from dclib.models import AlexNet, CenterCrop, count_parameters, load_trunk
from dclib.training import Batches, Schedule, augment
from dclib.verdicts.measures import measure

SMALL = profile("small").imagenet


# Runs


def test_parameters_are_counted_at_the_papers_scale_without_a_run():
    counted = {
        m: trained_parameters(runs[0])
        for m, runs in rows("table7", profile("paper")).items()
        if m not in ("Baseline", "NCSR")
    }
    assert counted["Finetune-8"] == count_parameters(AlexNet(1000), trainable=False)
    dense = sum(p.numel() for name, p in AlexNet(1000).named_parameters() if name.startswith("fc"))
    assert counted["Deepcorr-5c"] == counted["Deepcorr-5"] + dense
    assert counted["Deepcorr-5"] == sum(unit["parameters"] for unit in paper.row(10, "Deepcorr-5")["units"])
    for method in ("Deepcorr-1", "Deepcorr-6c", "Finetune-9"):
        assert trained_parameters(rows("table3", profile("paper"))[method][0]) == paper.row(3, method)["parameters"]


def test_other_classes_are_those_of_the_test_and_of_the_network():
    def found(target, method, name="small"):
        return other_classes(*(rows(target, profile(scale))[method][0] for scale in (name, "paper")))

    assert found("table3", "Deepcorr-6") == found("table7", "Finetune-8", "paper") == ""
    assert found("table7", "Finetune-8") == "20 classes instead of 1000"
    assert found("table14", "Deepcorr-5 sun397") == "18 classes instead of 397 and 20 classes instead of 1000"
    assert found("table14", "Deepcorr-5 caltech101") == "20 classes instead of 1000"


def test_rows_have_the_papers_names():
    assert list(rows("table7", profile("small"))) == [
        "Baseline",
        "Finetune-8",
        "Deepcorr-5",
        "Deepcorr-5c",
        "Deepcorr-5-no-bn",
        "NCSR",
    ]
    assert list(rows("table8", profile("small")))[-1] == "BM3D"
    assert set(rows("table9", profile("small"))) == {"local blur", "global blur", "local awgn", "global awgn"}
    assert rows("table7", profile("miniature")) == {}
    with refused("table77"):
        rows("table77", profile("small"))


def test_ids_are_distinct_and_scales_differ():
    runs = {name: queue(HALVES["imagenet"], profile(name)) for name in ("small", "imagenet20", "paper")}
    ids = [run.id for made in runs.values() for run in made]
    assert len(ids) == len(set(ids)) and all(len(made) > 20 for made in runs.values())


def test_what_a_run_needs_comes_first():
    seen = set()
    for run in queue(TARGETS, profile("small")):
        assert {needed.id for needed in run.needs} <= seen
        seen.add(run.id)


def test_schedules_are_the_papers():
    whole = profile("paper").imagenet
    assert (whole.finetune.iterations, whole.finetune.batch_size) == (62_500, 256)
    assert whole.finetune.drops == (18_750, 37_500, 56_250)
    assert (whole.finetune.learning_rate, whole.deepcorrect.learning_rate) == (0.001, 0.1)
    assert "BVLC" in str(whole.stand_in[0]) and all(profile(name).imagenet.stand_in for name in ("small", "imagenet20"))
    assert stand_in("table7", profile("small"))[0].short == "20 ImageNet classes"
    assert "third of the width" in in_words(stand_in("table3", profile("small")))


def test_tables_say_what_is_not_run_yet(store):
    shown = tables.beside("table7", "small", store)
    assert (shown.xs("here, small", level="source")["clean"] == "not run yet").all()
    assert shown.loc[("Deepcorr-5", "paper"), "σ_b = 6"] == "0.4334" and len(shown.columns) == 9
    with refused("miniature"):
        tables.collect("table7", "miniature", store)


# Networks


def trunk_file(path, monkeypatch):
    torch.manual_seed(1)
    state = {k: v.half() for k, v in AlexNet(2, "caffe").state_dict().items() if k.startswith("conv")}
    content = save(state)
    path.write_bytes(content)
    monkeypatch.setattr(models.networks, "TRUNK_SHA256", hashlib.sha256(content).hexdigest())
    return state


def test_the_trunk_gives_its_convolutions_and_nothing_else(tmp_path, monkeypatch):
    state = trunk_file(tmp_path / "trunk.safetensors", monkeypatch)
    network = AlexNet(2, "caffe")
    dense = network.fc7.weight.clone()
    load_trunk(network, tmp_path / "trunk.safetensors")
    assert all(torch.equal(network.state_dict()[name], value.float()) for name, value in state.items())
    assert torch.equal(network.fc7.weight, dense)


def test_a_trunk_that_cannot_be_used(tmp_path, monkeypatch):
    path = tmp_path / "trunk.safetensors"
    trunk_file(path, monkeypatch)
    with refused("caffe"):
        load_trunk(AlexNet(2), path)
    with refused("DCLIB_DATA"):
        load_trunk(AlexNet(2, "caffe"), tmp_path / "missing")
    path.write_bytes(path.read_bytes()[:-1])
    with refused("SHA-256"):
        load_trunk(AlexNet(2, "caffe"), path)


def test_the_middle_of_an_image_is_used():
    images = torch.arange(2 * 3 * 7 * 9.0).view(2, 3, 7, 9)
    assert torch.equal(CenterCrop(5)(images), images[:, :, 1:6, 2:7])
    with refused("5x5"):
        CenterCrop(5)(images[:, :, :4])


def test_trained_parameters_of_tables_7_to_12():
    counted = {}
    for method in imagenet.VARIANTS:
        network = correct(AlexNet(2), {k: range(n) for k, n in ALEXNET_FILTERS.items()}, ALEXNET_UNITS[method])
        counted[method] = count_parameters(network)
    printed = {row["method"]: row for row in paper.table(10)["rows"]}
    for method in printed:
        assert counted[method] == sum(unit["parameters"] for unit in printed[method]["units"])
    # Three BatchNorms in each of five units, two parameters a channel.
    assert counted["Deepcorr-5"] - counted["Deepcorr-5-no-bn"] == 3 * 2 * sum(ALEXNET_FILTERS.values())


# Mini-batches


def batches(count=64, distortion="awgn", **schedule):
    images = torch.full((count, 3, 16, 16), 128, dtype=torch.uint8)
    s = Schedule(3, count, 0.1, (2,), 3, mixture="each by chance", **schedule)
    return Batches(Split(images, torch.arange(count)), s, 0, distortion, (20.0,), torch.device("cpu"))


def test_each_image_is_distorted_by_chance():
    images, labels = batches(2000, augmentation="none").draw(0)
    noisy = images.std((1, 2, 3)) > 1
    assert 0.45 < noisy.double().mean() < 0.55 and sorted(labels.tolist()) == list(range(2000))
    assert noisy[:1000].double().mean().item() == pytest.approx(noisy[1000:].double().mean().item(), abs=0.08)


def test_only_undistorted_images_are_augmented_half_of_them():
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(1000, 3, 8, 8).contiguous()
    s = Schedule(3, 1000, 0.1, (2,), 3, mixture="each by chance", augmentation="rotate-shift-zoom-flip")
    images, _ = Batches(Split(ramp, torch.arange(1000)), s, 0, "awgn", (30.0,), torch.device("cpu")).draw(1)
    whole = (images == images.round()).flatten(1).all(1)
    same = (images == ramp[0].float()).flatten(1).all(1)
    assert 0.45 < whole.double().mean() < 0.55  # noise leaves no whole number
    assert 0.4 < (same & whole).sum() / whole.sum() < 0.6


def test_without_a_distortion_nothing_is_distorted():
    images, _ = batches(distortion=None, augmentation="none").draw(0)
    assert torch.equal(images, torch.full_like(images, 128))


def test_zoom_enlarges_and_shrinks():
    image = torch.zeros(400, 1, 65, 65)
    image[:, :, 22:43, 22:43] = 1
    area = augment(image, "rotate-shift-zoom-flip", torch.Generator().manual_seed(0)).sum((1, 2, 3)) / 21**2
    assert 0.55 < area.min() < 0.75 and 1.6 < area.max() < 1.95  # coordinates times 0.75 to 1.25: 1 / 1.25**2, 1 / 0.75**2
    plain = augment(image, "rotate-shift-flip", torch.Generator().manual_seed(0)).sum((1, 2, 3)) / 21**2
    assert 0.9 < plain.min() and plain.max() < 1.1


# Figures


def test_filters_are_drawn_with_alt_text():
    weights = np.random.RandomState(0).randn(96, 3, 11, 11)
    figure = filters(weights, range(48), "Most susceptible to blur", colour_specific=np.arange(96) < 5)
    assert "48 filters of 11 by 11" in figure.alt_text and "5 of them respond to colour" in figure.alt_text
    with refused("at least one"):
        filters(weights, [], "nothing")


@pytest.mark.parametrize("classes", [20, 1000])
def test_class_differences_are_counted(classes):
    difference = np.zeros(classes)
    difference[3], difference[5:7] = -0.25, 0.5
    figure = class_difference(difference, [f"class {i}" for i in range(classes)], "blur", "here")
    assert f"better for 2 classes, worse for 1, equal for {classes - 3}" in figure.alt_text
    assert "class 5 (+0.500)" in figure.alt_text and "class 3 (-0.250)" in figure.alt_text


def test_a_scale_can_be_cut_without_touching_the_paper():
    cut = replace(SMALL, test_images=1)
    assert imagenet.finetune(cut, "blur").id != imagenet.finetune(SMALL, "blur").id


def test_rivals_restore_what_the_network_sees():
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2, bias=False))
    network[2].weight.data = torch.eye(3)[:2]
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    images[:2, 0], images[2:, 1] = 200, 200
    test, seen = Split(images, torch.tensor([0, 0, 1, 1])), []

    def swap_channels(distorted, sigma):
        seen.append(sigma)
        return distorted[:, [1, 0, 2]]

    correct = hits_per_level(network, test, "blur", (1.0, 2.0), restore=swap_channels)
    assert seen == [1.0, 2.0]
    assert correct.tolist() == [[True] * 4, [False] * 4, [False] * 4]


def test_every_rival_of_a_run_is_known():
    assert {restored for _, restored in imagenet.RIVALS.values()} == set(restoration.RESTORATIONS)


def test_rows_of_section_5_3():
    small, whole = (rows("table14", profile(name), (0,)) for name in ("small", "paper"))
    assert set(small) == {f"{m} {d}" for m in ("Baseline", "Finetune-8", "Deepcorr-5") for d in ("caltech101", "sun397")}
    for label, runs in small.items():
        method, dataset = label.split()
        run = runs[0]
        assert (run.kind, run.method, run.dataset, run.base.method) == ("transfer", method, dataset, method)
        assert run.features == {"caltech101": "fc6", "sun397": "fc7"}[dataset] and len(run.sigmas) == 6
    assert small["Baseline sun397"][0].classes == 18 and whole["Baseline sun397"][0].classes == 397
    clean = rows("table13", profile("small"), (0,))["Baseline caltech101"][0]
    assert clean.sigmas == () and clean.trained_on == "clean"
    assert "18 of SUN" in in_words(stand_in("table13", profile("small")))
    assert stand_in("table13", profile("paper")) == NETWORKS["paper"]


def a_small_baseline(store, monkeypatch):
    """A recorded baseline for three classes, and a network of eight features in its place."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 8))
    monkeypatch.setattr(execution.inputs, "network", lambda run, store: network)
    base = Run("train", "Baseline", "d", "f" * 64, 3, 0, 0)
    store.put(record(base, np.ones((1, 3), bool)))
    store.put_weights(base, b"there")
    return base


def test_a_transfer_is_made_and_recorded(store, monkeypatch):
    """On a few made-up images, with a network whose features tell the classes apart."""
    labels = torch.arange(3).repeat_interleave(32)
    images = torch.full((96, 3, 16, 16), 20, dtype=torch.uint8)
    for i, label in enumerate(labels):
        images[i, label] = 120 + i % 7
    monkeypatch.setattr(
        execution.inputs.datasets,
        "collection",
        lambda name: Collection(name, Split(images, labels), ("r", "g", "b"), "imagenet", "f" * 64),
    )
    base = a_small_baseline(store, monkeypatch)
    run = Run(
        "transfer",
        "Baseline",
        "sun397",
        "f" * 64,
        3,
        0,
        0,
        distortion="awgn",
        sigmas=(1.0, 2.0),
        base=base,
        features="2",
        trained_on="all levels",
    )
    found = execution.obtain(run, store)
    assert found.accuracy.tolist() == [1, 1, 1] and found.hits is None
    assert np.shape(found.outcome["splits"]) == (5, 3) and store.get(run).accuracy.tolist() == [1, 1, 1]


def test_separation_is_that_of_the_record(store):
    for method, shares in (("Baseline", [1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]), ("Deepcorr-5", [0.0, *[0.75] * 6])):
        store.put(record(imagenet.embedded(SMALL, method, "blur"), separation=shares, images=10, labels=[], points=[]))
    found = measure({"figure": 10, "quantity": "separation_gain", "distortion": "blur"}, "small", store)
    error = 1.96 * np.sqrt((0.75 * 0.25 + 0.5 * 0.5) / 10)  # ten images
    assert found.value == pytest.approx(0.25)
    assert found.interval == pytest.approx((0.25 - error, 0.25 + error), abs=1e-3)
    assert measure({"figure": 10, "quantity": "separation_gain", "distortion": "awgn"}, "small", store) is None


def test_an_embedding_is_made_and_recorded(store, monkeypatch):
    labels = torch.arange(3).repeat_interleave(20)
    images = torch.full((60, 3, 16, 16), 20, dtype=torch.uint8)
    for i, label in enumerate(labels):
        images[i, label] = 100 + i % 20
    data = Dataset("d", *(Split(images, labels),) * 3, ("r", "g", "b"), "imagenet", "f" * 64)
    monkeypatch.setattr(execution.inputs, "data_for", lambda run: data)
    base = a_small_baseline(store, monkeypatch)
    run = Run(
        "embed", "Baseline", "d", "f" * 64, 3, 0, 0, distortion="blur", sigmas=(1.0,), base=base, features="2", shown=(0, 2)
    )
    outcome = execution.obtain(run, store).outcome
    assert outcome["labels"] == [0] * 20 + [2] * 20 and np.shape(outcome["points"]) == (2, 40, 2)
    assert outcome["separation"] == [1, 1]
