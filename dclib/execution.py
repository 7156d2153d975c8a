"""Making runs: each is found in the records, or made from what it needs, and recorded."""

import datetime
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

import dclib
from dclib import correction, datasets, distributed, ranking, restoration, transfer
from dclib.datasets import Dataset, Split
from dclib.errors import InputError
from dclib.evaluation import correct_predictions, distorted_copies
from dclib.models import AlexNet, AllConvNet, count_parameters, load_trunk, trainable_copy
from dclib.results import Record, Store, pack_bits, pack_filters
from dclib.runs import Run
from dclib.statistics import own_neighbours
from dclib.training import Progress, train

Report = Callable[[int, float], None]


def obtain(run: Run, store: Store, *, device: str = "cpu", recompute: bool = False, deadline: float | None = None,
           report: Report | None = None) -> Record:
    """The record of `run`: read if it is there, else made, with all that it needs, and written.

    Args:
        recompute: make this run again although its record is there (what it needs is still read).
        deadline: `time.monotonic()` at which a training writes its checkpoint and stops.

    Raises:
        training.OutOfTime: at the deadline.
        InputError: another process is making this run; data, weights or records that cannot be used.
    """
    record = None if recompute else _found(run, store)
    if distributed.agreed(record is not None):
        return record or store.get(run)
    for needed in run.needs:
        obtain(needed, store, device=device, deadline=deadline, report=report)
    if distributed.rank() > 0:
        return _help(run, store, torch.device(device), deadline)
    with _claim(run, store):
        if not recompute and (record := _found(run, store)):  # another process made it while this one waited
            return record
        outcome, cost = _MAKERS[run.kind](run, store, torch.device(device), deadline, report)
        cost = {name: round(seconds, 2) for name, seconds in cost.items()} | {"peak_bytes": _peak_bytes(device)}
        record = Record(run.description, outcome, cost, environment(device))
        store.put(record)
        store.checkpoint(run).unlink(missing_ok=True)
    distributed.agreed(None)  # let the others go on, who find the record
    return record


def _help(run: Run, store: Store, device: torch.device, deadline: float | None) -> Record:
    """What the processes other than 0 do under torchrun: their share of a training, and wait for its record."""
    if run.kind == "train":
        _train(run, store, device, deadline, None)
    distributed.agreed(None)
    return store.get(run)


def network(run: Run, store: Store, device: str | torch.device = "cpu") -> nn.Module:
    """The trained network of a run of kind "train", in evaluation mode."""
    model = _untrained(run, store)
    path = store.weights(run)
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: expected the weights of {run}, got {str(error).splitlines()[0]}; make them with "
                         "dclib run.") from error
    return model.to(device).eval()


def data_for(run: Run) -> Dataset:
    """The run's data set, checked against the fingerprint in its description."""
    data = _load(run.dataset, run.seed, run.photographs)
    _check_fingerprint(run, data.fingerprint)
    return data


def _check_fingerprint(run: Run, found: str) -> None:
    if found != run.fingerprint:
        raise InputError(f"{run.dataset}: expected fingerprint {run.fingerprint[:12]}.., got {found[:12]}..; the run was "
                         "described for other data.")


def filters_of(run: Run, store: Store) -> dict[str, list[int]]:
    """Which filters a Deepcorr run corrects, from its selection and its ranking's record."""
    selection, counts = run.selection, dict(run.selection.counts)
    if selection.order == "random":
        rng = np.random.RandomState([run.seed, selection.draw, *counts.values()])
        sizes = {name: conv.out_channels for name, conv in _empty(run).named_modules() if name in counts}
        return {layer: rng.permutation(sizes[layer])[:count].tolist() for layer, count in counts.items()}
    record = store.get(run.ranking)
    if record is None:
        raise InputError(f"{run}: expected the record of its ranking, got none; make it with dclib run.")
    priorities = priorities_of(record, selection.score, tuple(counts))
    if selection.scope == "global":
        chosen = ranking.select_global(priorities, sum(counts.values()))
        return {layer: index.tolist() for layer, index in chosen.items() if len(index)}
    if selection.order == "least":
        priorities = {layer: -values for layer, values in priorities.items()}
    chosen = ranking.select_local(priorities, {n: c / len(priorities[n]) for n, c in counts.items()})
    return {layer: index.tolist() for layer, index in chosen.items()}


def priorities_of(record: Record, score: str, layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Correction priorities per layer [filters], from a record of Algorithm 1."""
    baseline = np.array(record.outcome["distorted_accuracy"])
    return {layer: ranking.correction_priority(np.array(record.outcome["swap_accuracy"][layer]), baseline, score=score)
            for layer in layers}


def environment(device: str = "cpu") -> dict:
    """What the outcome may depend on besides the description."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "python": platform.python_version(), "dclib": dclib.__version__, "commit": commit(),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


@lru_cache
def commit() -> str:
    """The checkout's commit, with "+" behind it if dclib was changed since; "unknown" outside of a checkout."""
    root = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain", "."], cwd=root, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else "unknown"


def check_device(device: str) -> None:
    """`InputError` unless torch can compute on `device` ("cpu", "cuda", "cuda:1")."""
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device: expected one that this machine has, got {device!r} "
                         f"({str(error).splitlines()[0]}); use cpu.") from error


def _make_training(run: Run, store: Store, device: torch.device, deadline: float | None,
                   report: Report | None) -> tuple[dict, dict]:
    model, progress, data = _train(run, store, device, deadline, report)
    started = time.monotonic()
    correct = correct_predictions(model, _test_images(run, data), run.distortion, run.sigmas)
    store.put_weights(run, save({k: v.contiguous() for k, v in model.state_dict().items()}))
    outcome = {"correct": pack_bits(correct.numpy()), "correct_count": correct.sum(1).tolist(),
               "accuracy": correct.double().mean(1).tolist(), "parameters_trained": count_parameters(model),
               "curve": progress.curve, "best_iteration": progress.best_iteration}
    if run.selection:
        outcome["filters"] = filters_of(run, store)
    if data.skipped:
        outcome["skipped_images"] = list(data.skipped)
    return outcome, {"seconds": progress.seconds + time.monotonic() - started}


def _train(run: Run, store: Store, device: torch.device, deadline: float | None,
           report: Report | None) -> tuple[nn.Module, Progress, Dataset]:
    data = data_for(run)
    model = _untrained(run, store).to(device)
    progress = train(model, data.train, _validation_images(run, data), run.schedule, seed=run.seed,
                     distortion=run.distortion, sigmas=run.sigmas, precision=run.precision,
                     checkpoint=store.checkpoint(run), deadline=deadline, report=report)
    return model, progress, data


def _make_evaluation(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    model, test = network(run.base, store, device), _test_images(run, data_for(run))
    restoring = 0.0

    def restore(images: torch.Tensor, sigma: float) -> torch.Tensor:
        nonlocal restoring
        began = time.monotonic()
        restored = restoration.WAYS[run.restoration](images, sigma)
        restoring += time.monotonic() - began
        return restored

    correct = correct_predictions(model, test, run.distortion, run.sigmas, restore=restore if run.restoration else None)
    per_image = {"restoration_seconds_per_image": restoring / (len(test) * len(run.sigmas))} if run.restoration else {}
    return {"correct": pack_bits(correct.numpy()), "correct_count": correct.sum(1).tolist(),
            "accuracy": correct.double().mean(1).tolist(),
            "parameters_trained": count_parameters(model)}, {"seconds": time.monotonic() - started} | per_image


def _make_ranking(run: Run, store: Store, device: torch.device, deadline: float | None,
                  report: Report | None) -> tuple[dict, dict]:
    started = time.monotonic()
    model, images = network(run.base, store, device), _ranking_images(run)
    clean, distorted = _pairs(run, images, device)
    swapped = ranking.swap_accuracy(model, run.layers, clean, distorted, images.labels.to(device))
    before = ranking.accuracy_per_level(model, torch.cat([clean[None], distorted]), images.labels.to(device))
    outcome = {"swap_accuracy": {layer: values.round(6).tolist() for layer, values in swapped.items()},
               "clean_accuracy": before[0].item(), "distorted_accuracy": before[1:].round(6).tolist(),
               "images": len(images)}
    if run.network == "AlexNet":  # large enough to be looked at (Figure 6)
        outcome["first_filters"] = pack_filters(model.conv1.weight.detach().cpu().numpy())
    return outcome, {"seconds": time.monotonic() - started}


def _make_swaps(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    model, images = network(run.base, store, device), _ranking_images(run)
    clean, distorted = _pairs(run, images, device)
    priorities = priorities_of(store.get(run.ranking), run.selection.score, run.layers)
    choices = {layer: [ranking.select_local({layer: priorities[layer]}, f)[layer] for f in run.fractions]
               for layer in run.layers}
    swapped = ranking.joint_swap_accuracy(model, choices, clean, distorted, images.labels.to(device))
    accuracy = {layer: values.round(6).tolist() for layer, values in swapped.items()}
    before = ranking.accuracy_per_level(model, torch.cat([clean[None], distorted]), images.labels.to(device))
    return {"accuracy": accuracy, "clean_accuracy": before[0].item(),
            "distorted_accuracy": before[1:].round(6).tolist(), "images": len(images)}, {"seconds": time.monotonic() - started}


def _make_transfer(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    started = time.monotonic()
    collection = datasets.collection(run.dataset)
    _check_fingerprint(run, collection.fingerprint)
    labels = collection.images.labels
    draws = [transfer.draw_split(labels, seed) for seed in range(run.seed, run.seed + transfer.SPLITS)]
    model = network(run.base, store, device)
    features = transfer.features_per_level(model, collection.images.images, run.features, run.distortion or "blur",
                                           run.sigmas, seed=run.seed)
    found = transfer.transfer_accuracy(features, labels, draws, trained_on=run.trained_on, seed=run.seed)
    outcome = {"accuracy": found.accuracy.mean(0).round(6).tolist(), "splits": found.accuracy.round(6).tolist(),
               "costs": list(found.costs), "images": len(labels), "parameters_trained": None}
    return outcome, {"seconds": time.monotonic() - started}


def _make_embedding(run: Run, store: Store, device: torch.device, *_) -> tuple[dict, dict]:
    from sklearn.manifold import TSNE  # takes seconds to import

    started = time.monotonic()
    test = _test_images(run, data_for(run))
    chosen = test.take(torch.isin(test.labels, torch.tensor(run.shown)).nonzero().flatten())
    features = transfer.features_per_level(network(run.base, store, device), chosen.images, run.features, run.distortion,
                                           run.sigmas, seed=run.seed).numpy()
    labels = chosen.labels.numpy()
    perplexity = min(30, (len(labels) - 1) / 4)
    points = [TSNE(random_state=run.seed, perplexity=perplexity).fit_transform(level) for level in features]
    outcome = {"labels": labels.tolist(), "points": np.round(points, 2).tolist(),
               "separation": [round(own_neighbours(level, labels), 6) for level in features], "images": len(labels)}
    return outcome, {"seconds": time.monotonic() - started}


_MAKERS = {"train": _make_training, "evaluate": _make_evaluation, "rank": _make_ranking, "swap": _make_swaps,
           "transfer": _make_transfer, "embed": _make_embedding}


def _ranking_images(run: Run) -> Split:
    data = data_for(run)
    split = {"train": data.train, "validation": data.validation}[run.ranking_split]
    return split.take(datasets.per_class_sample(split.labels, run.ranking_images, run.seed))


def _validation_images(run: Run, data: Dataset) -> Split:
    """The validation images, or the first `run.validation_images`, or so many of every class where they are sorted."""
    if run.validation_images is None:
        return data.validation
    if run.network == "AlexNet":
        return data.validation.take(datasets.per_class_sample(data.validation.labels, run.validation_images, 0))
    return data.validation.take(torch.arange(run.validation_images))


def _test_images(run: Run, data: Dataset) -> Split:
    """The test images, or `run.test_images` of every class: always the same ones, whatever the seed."""
    if run.test_images is None:
        return data.test
    return data.test.take(datasets.per_class_sample(data.test.labels, run.test_images, 0))


def _pairs(run: Run, images: Split, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return (images.images.to(device, torch.float32),
            distorted_copies(images, run.distortion, run.sigmas, device=device))


@lru_cache(maxsize=2)
def _load(dataset: str, seed: int, photographs: tuple[int, ...]) -> Dataset:
    return datasets.photographs(*photographs) if photographs else datasets.load(dataset, seed)


def _empty(run: Run) -> AllConvNet | AlexNet:
    torch.manual_seed(run.seed)
    if run.network == "AlexNet":
        return AlexNet(run.classes, run.layout)
    return AllConvNet(run.classes, run.width, batchnorm_momentum=run.batchnorm_momentum)


def _untrained(run: Run, store: Store) -> nn.Module:
    """The network of `run` before its training: the baseline's weights with what the method adds."""
    if run.base is None:
        model = _empty(run)
        if run.trunk:
            load_trunk(model, datasets.data_folder() / "weights" / "alexnet_conv_trunk.safetensors")
        return trainable_copy(model, run.layers) if run.layers else model
    base = network(run.base, store)
    if run.selection is None:
        return trainable_copy(base, run.layers, batch_statistics=run.batch_statistics)
    design = dict(run.designs) or run.design
    return correction.correct(base, filters_of(run, store), design, also_train=run.also_train,
                              batch_statistics=run.batch_statistics, seed=run.seed)


def _found(run: Run, store: Store) -> Record | None:
    """The record of `run`; None also for a baseline without its network, which other runs start from."""
    record = store.get(run)
    usable = run.kind != "train" or run.base or store.weights(run).exists()
    return record if usable else None


def _claim(run: Run, store: Store) -> AbstractContextManager:
    """A lock that ends with its process, so that two sweeps share the work and a killed one leaves none behind."""
    path = store.checkpoint(run).with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path).acquire(timeout=0)
    except Timeout as error:
        # Under torchrun the other processes of the group cannot be told to take another run.
        kind = BusyError if distributed.count() == 1 else InputError
        raise kind(f"{run}: expected to make it, got another process that is making it; wait for it or choose other "
                   "runs.") from error
    except OSError as error:
        raise InputError(f"{store.folder}: expected a folder that can be written, got {error}; choose another with "
                         "DCLIB_RESULTS or --results.") from error


class BusyError(InputError):
    """Another process is making the same run."""


def _peak_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
