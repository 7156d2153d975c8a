"""Which peak rate each family of networks learns best with in a short schedule, by held-out training images alone.

usage: python -m benchmarks.peak_rates PROFILE [--half cifar100] [--share 0.5] [--results FOLDER]
       python -m benchmarks.peak_rates small --half efficientnet --share 0.25

Every family of a half of the paper tries equally many rates, with equal images and equal schedules: the profile's own
shape with `share` of its iterations, and filters drawn at random where units would wait for a ranking. The rates of
`dclib.experiments` are the best ones here. No test image is seen. The baseline is read from the results folder, or made.
Trials that the suite's file holds at the same share are kept, so a stopped suite goes on and a wider one tries what is new.
"""

import argparse
import json
from dataclasses import replace

import torch

from benchmarks.measure import FOLDER, file_name
from dclib import experiments
from dclib.errors import InputError
from dclib.execution import obtain
from dclib.execution.environment import environment
from dclib.execution.inputs import data_for, untrained
from dclib.execution.makers import taught
from dclib.experiments import Run, efficientnet, imagenet, shortened
from dclib.results import Store
from dclib.training import Diverged, train

#: Candidates per family, in equal number, each about three times the one before: for CIFAR-100's half, for its miniature,
#: whose few images ask less of a rate, for ImageNet's half, and for our own study of EfficientNet-Lite0.
CANDIDATES = {
    "miniature": {"Finetune": (0.001, 0.003, 0.01, 0.03), "Deepcorr": (0.03, 0.1, 0.3, 1.0)},
    "cifar100": {"Finetune": (0.003, 0.01, 0.03, 0.1), "Deepcorr": (0.03, 0.1, 0.3, 1.0)},
    "imagenet": {
        "Finetune-8": (0.00003, 0.0001, 0.0003, 0.001, 0.003),
        "Deepcorr-5": (0.03, 0.1, 0.3, 1.0, 3.0),
        "Deepcorr-5-no-bn": (0.0001, 0.0003, 0.001, 0.003, 0.01),
    },
    "efficientnet": {
        "Finetune": (0.003, 0.01, 0.03),
        "Deepcorr without labels": (0.03, 0.1, 0.3),
        "Deepcorr with labels": (0.03, 0.1, 0.3),
    },
}
#: The networks of a family of CIFAR-100's half that try a rate: few and many layers.
DEPTHS = (1, 6)
#: Validation images of each class that choose a rate of EfficientNet-Lite0: more than the few that a training looks at.
LOOKED_AT = 10


def trials(half: str, profile: str, share: float) -> dict[str, dict[float, list[Run]]]:
    """{family: {rate: runs that try it}}."""
    found: dict[str, dict[float, list[Run]]] = {}
    for family, rates in CANDIDATES["miniature" if profile == "miniature" else half].items():
        found[family] = {}
        for rate in rates:
            if half == "imagenet":
                s = experiments.profile(profile).imagenet
                run = imagenet.finetune(s, "blur") if family == "Finetune-8" else imagenet.deepcorrect(s, family, "blur")
                runs = [run]
            elif half == "efficientnet":
                runs = [replace(efficientnet.ROWS[family]("blur"), validation_images=LOOKED_AT)]
            else:
                runs = [experiments.method_run(experiments.profile(profile), f"{family}-{k}", "blur") for k in DEPTHS]
            found[family][rate] = [_trial(run, share, rate) for run in runs]
    return found


def _trial(run: Run, share: float, rate: float) -> Run:
    schedule = replace(shortened(run.schedule, share), learning_rate=rate)
    schedule = replace(schedule, evaluate_every=schedule.iterations)  # one look, at the end of the cycle
    drawn = {"selection": replace(run.selection, order="random"), "ranking": None} if run.ranking else {}
    return replace(run, schedule=schedule, **drawn)


def held_out(run: Run, store: Store) -> float | None:
    """The best validation accuracy of a training, mean over levels; None where it diverged."""
    network = untrained(run, store)
    trained, validation = taught(run, network, data_for(run))
    try:
        progress = train(
            network,
            trained,
            validation,
            run.schedule,
            seed=run.seed,
            distortion=run.distortion,
            sigmas=run.sigmas,
            blur_of_bytes=run.blur_of_bytes,
        )
    except Diverged:
        return None
    return progress.best_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "profile", choices=[name for name, p in experiments.PROFILES.items() if p().finetune.shape == "one-cycle"]
    )
    parser.add_argument("--half", choices=("cifar100", "imagenet", "efficientnet"), default="cifar100")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--family", help="try this family alone, and keep what is written of the others")
    parser.add_argument("--results")
    options = parser.parse_args()
    if options.half == "imagenet" and experiments.profile(options.profile).imagenet is None:
        raise SystemExit(str(InputError(f"profile: expected one with an ImageNet half, got {options.profile}.")))
    torch.set_num_threads(1)
    store = Store(options.results)
    path = FOLDER / file_name(f"peak-rates-{options.profile}-{options.half}", environment())
    tried = _tried(path, options.share)
    for family, rates in trials(options.half, options.profile, options.share).items():
        if options.family not in (None, family):
            continue
        for run in (run for rate in sorted(rates) for run in rates[rate]):
            name = f"{run.method}, peak {run.schedule.learning_rate:g}"
            if name not in tried.setdefault(family, {}):
                for needed in run.needs:
                    obtain(needed, store)
                tried[family][name] = held_out(run, store)
                _keep(path, options, tried)
            print(f"{name}: {tried[family][name]}", flush=True)


def _tried(path, share: float) -> dict[str, dict[str, float | None]]:
    content = json.loads(path.read_text()) if path.exists() else {}
    return content["families"] if content.get("share_of_iterations") == share else {}


def _keep(path, options: argparse.Namespace, tried: dict[str, dict[str, float | None]]) -> None:
    path.write_text(
        json.dumps(
            {
                "suite": "peak-rates",
                "families": tried,
                "profile": options.profile,
                "half": options.half,
                "share_of_iterations": options.share,
                "environment": environment(),
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
