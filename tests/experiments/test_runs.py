"""Runs are named by their descriptions, and keep their names."""

import dataclasses
import hashlib
import json

import pytest
from support import BASE, DEEP, RANKING, ROOT, SCHEDULE, refused

from dclib.correction import UnitDesign
from dclib.execution.missing import unasked
from dclib.experiments import Run, Selection
from dclib.results import Store


def test_ids_do_not_change():
    assert (BASE.id, RANKING.id, DEEP.id) == ("fa3412f73b97b417", "d2574ca745679bde", "0afbbc3ccae6b46a")


def test_every_published_record_is_of_a_run_that_is_asked_for():
    published = Store(ROOT / "data" / "results").records()
    assert published and unasked(published) == []


def test_the_id_is_a_hash_of_the_description():
    text = json.dumps(DEEP.description, sort_keys=True, separators=(",", ":"))
    assert DEEP.id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert json.loads(json.dumps(DEEP.description)) == DEEP.description


def test_a_description_leaves_out_defaults():
    assert BASE.description == {
        "kind": "train",
        "method": "Baseline",
        "dataset": "photographs",
        "fingerprint": "f" * 64,
        "classes": 19,
        "width": 8,
        "seed": 0,
        "schedule": {"iterations": 40, "batch_size": 8, "learning_rate": 0.1, "drops": [20, 30], "evaluate_every": 10},
    }
    assert DEEP.description["design"] == {"width": 16, "input_batchnorm": True}
    assert DEEP.description["schedule"]["l1"] == 1e-5
    assert DEEP.description["selection"] == {
        "order": "ranked",
        "scope": "local",
        "score": "priority",
        "counts": [["conv1", 4]],
    }
    assert (DEEP.description["base"], DEEP.description["ranking"]) == (BASE.id, RANKING.id)


CHANGES = {
    "method": "other",
    "seed": 1,
    "width": 9,
    "classes": 20,
    "fingerprint": "0" * 64,
    "distortion": "awgn",
    "sigmas": (0.5, 1.5),
    "layers": ("conv2",),
    "also_train": ("conv9",),
    "precision": "bfloat16",
    "validation_images": 5,
    "batchnorm_momentum": 0.1,
    "photographs": (1, 2, 3),
    "design": UnitDesign(),
    "base": dataclasses.replace(BASE, seed=1),
    "ranking": dataclasses.replace(RANKING, seed=1),
    "schedule": SCHEDULE,
    "selection": Selection("least", "local", "priority", (("conv1", 4),)),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_change_of_the_description_changes_the_id(field):
    assert dataclasses.replace(DEEP, **{field: CHANGES[field]}).id != DEEP.id


def test_equal_runs_have_equal_ids_whatever_made_them():
    again = Run(**{f.name: getattr(DEEP, f.name) for f in dataclasses.fields(DEEP)})
    assert again.id == DEEP.id
    assert dataclasses.replace(DEEP, sigmas=[0.5, 1.0]).id == DEEP.id  # lists as JSON has them


def test_needs_and_name():
    assert BASE.needs == () and RANKING.needs == (BASE,) and DEEP.needs == (BASE, RANKING)
    assert str(DEEP) == "Deepcorr-1 blur (photographs, width 8, seed 0)"


@pytest.mark.parametrize(
    "change",
    [{"iterations": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"evaluate_every": 0}, {"augmentation": "cutmix"}],
)
def test_bad_schedules(change):
    with refused():
        dataclasses.replace(SCHEDULE, **change)
