"""The short schedules have the peak rates that held-out images chose, from equally many candidates for every family."""

import json
import math
import re
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.peak_rates import CANDIDATES, trials
from dclib.experiments import efficientnet, profile

FILES = sorted((Path(__file__).parents[2] / "benchmarks" / "results").glob("peak-rates-*.json"))


def chosen_rates(name, half):
    """{family: its peak rate in the profile}, or in the study of EfficientNet-Lite0."""
    if half == "efficientnet":
        return {label: efficientnet.ROWS[label]("blur").schedule.learning_rate for label in CANDIDATES[half]}
    p = profile(name).imagenet if half == "imagenet" else profile(name)
    schedules = {"Finetune": p.finetune, "Finetune-8": p.finetune, "Deepcorr": p.deepcorrect, "Deepcorr-5": p.deepcorrect}
    if half == "imagenet":
        schedules["Deepcorr-5-no-bn"] = p.without_batchnorm
    return {family: schedule.learning_rate for family, schedule in schedules.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_family_has_the_best_rate_that_was_tried(path):
    tried = json.loads(path.read_text())
    chosen = chosen_rates(tried["profile"], tried["half"])
    counts = set()
    for family, accuracies in tried["families"].items():
        by_rate = defaultdict(list)
        for name, accuracy in accuracies.items():
            by_rate[float(re.search("peak (.*)", name)[1])].append(-math.inf if accuracy is None else accuracy)
        counts.add(tuple(len(found) for found in by_rate.values()))
        assert max(by_rate, key=lambda rate: sum(by_rate[rate])) == chosen[family]
    assert len(counts) == 1


def test_every_family_tries_equally_many_rates_on_equally_many_images():
    for families in CANDIDATES.values():
        assert len({len(rates) for rates in families.values()}) == 1
    for half in ("cifar100", "imagenet", "efficientnet"):
        runs = [run for rates in trials(half, "small", 0.5).values() for those in rates.values() for run in those]
        assert len({(run.schedule.iterations, run.schedule.batch_size, run.schedule.shape) for run in runs}) == 1
        assert all(run.ranking is None for run in runs)  # filters by chance: no ranking has to be waited for


@pytest.mark.parametrize("path", sorted(FILES[0].parent.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_is_named_by_suite_processor_and_version(path):
    from benchmarks.measure import file_name

    made = json.loads(path.read_text())
    suite = f"{made['suite']}-{made['profile']}-{made['half']}" if made["suite"] == "peak-rates" else made["suite"]
    environments = [part["environment"] for part in made.get("parts", {"whole": made}).values()]
    assert {file_name(suite, environment) for environment in environments} == {path.name}
