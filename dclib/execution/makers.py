"""How the outcome of each kind of run is made from what was gathered for it; parts keep the checkpoint and the clock."""

import time
from collections.abc import Callable

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from dclib import datasets, paper, published, restoration, transfer
from dclib.correction import unit_shares
from dclib.datasets import Dataset, Split
from dclib.distortions import Distort, blurs
from dclib.errors import InputError
from dclib.evaluation import distorted_copies, hits_on, places_on
from dclib.execution.blurring import make_blurred, make_deblurred
from dclib.execution.checkpoint import Parts
from dclib.execution.electing import make_election
from dclib.execution.gate import make_gate
from dclib.execution.inputs import Inputs, left_out, test_images, training_images, validation_images
from dclib.execution.joint import make_selection
from dclib.execution.swaps import make_ranking, make_swaps
from dclib.experiments import Run
from dclib.models import count_parameters
from dclib.results import pack_bits
from dclib.statistics import own_neighbours
from dclib.tensors import UNREADABLE, read, reason, sealed
from dclib.training import Progress, answers, distributed, train

#: Clean images on which it is measured how much units add.
_LOOKED_AT = 50
#: By how much the published baseline's clean accuracy may differ from the printed one: two of 10,000 images, which rounding
#: on another machine may turn.
_TURNED = 2e-4
#: Images that are tested at once: the evaluation's chunk of noise. And of these, so many are restored at once.
_TESTED, _RESTORED = 250, 10


def _make_training(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Train, unless the parts say that only the test is left, and test."""
    model = inputs.network.to(device)
    if not distributed.agreed("curve" in parts.facts):
        progress = train_network(run, inputs, device, parts)
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        parts.keep_trained(
            save(state, sealed(state)),
            seconds=progress.seconds,
            curve=progress.curve,
            best_iteration=progress.best_iteration,
        )
    _read_trained(model, parts)
    if distributed.world_size() > 1:
        parts.deadline = None  # the other processes wait for the record
    test = test_images(run, inputs.data)
    outcome = _tested(run, model, test, parts) | {name: parts.facts[name] for name in ("curve", "best_iteration")}
    if run.selection:
        outcome["filters"] = inputs.filters
    if run.selection and (run.design or run.designs):
        shares = unit_shares(model, inputs.data.validation.images[:_LOOKED_AT].to(device, torch.float32))
        outcome["unit_share"] = {layer: round(share, 6) for layer, share in shares.items()}
    return outcome | left_out(inputs.data, test)


def taught(run: Run, model: nn.Module, data: Dataset) -> tuple[Split, Split]:
    """What a run trains on and looks at, with the labels that teach it: the frozen network's own answers if unlabelled."""
    trained, validation = training_images(run, data), validation_images(run, data)
    if run.unlabelled:
        trained = Split(trained.images, answers(model, trained.images))
        validation = Split(validation.images, answers(model, validation.images).argmax(1))
    return trained, validation


def train_network(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> Progress:
    """Train `inputs.network`, which ends in evaluation mode."""
    model, report, began = inputs.network.to(device), parts.report, time.monotonic()
    said = report and (lambda done, loss: report(done, run.schedule.iterations, f"loss {loss:.3f}"))
    data, validation = taught(run, model, inputs.data)
    answered = time.monotonic() - began
    distortion, sigmas = _trained_under(run)
    progress = train(
        model,
        data,
        validation,
        run.schedule,
        seed=run.seed,
        distortion=distortion,
        sigmas=sigmas,
        blur_of_bytes=run.blur_of_bytes,
        precision=run.precision,
        checkpoint=parts.path,
        deadline=parts.deadline,
        report=said,
    )
    progress.seconds += answered
    return progress


def _trained_under(run: Run) -> tuple[str | Distort | None, tuple[float, ...]]:
    """What half of a training's images come under, and its levels: a distortion's sigmas, or the numbers of kernels."""
    if run.conditions:
        return blurs(run.conditions), tuple(map(float, range(1, len(run.conditions) + 1)))
    return run.distortion, run.sigmas


def help_with(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> None:
    """The share of a training of a process other than 0 under torchrun."""
    if not distributed.agreed(None):
        train_network(run, inputs, device, parts)


def _read_trained(model: nn.Module, parts: Parts) -> None:
    """Read the trained network in any case, so that the outcome is the same whether or not the test was interrupted."""
    try:
        model.load_state_dict(read(parts.weights)[0])
    except UNREADABLE as error:
        raise InputError(
            f"{parts.weights}: expected the weights of {parts.run}, got {reason(error)}; delete "
            f"{parts.path} to train it anew."
        ) from error
    model.eval()


def _make_evaluation(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    test = test_images(run, inputs.data)
    return _tested(run, inputs.network.to(device), test, parts) | left_out(inputs.data, test)


def _make_import(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """A network that the authors published, tested; their baseline has to be as good as they printed it."""
    model, test = inputs.network.to(device), test_images(run, inputs.data)
    outcome = _tested(run, model, test, parts)
    if run.base is None:
        _check_baseline(run, outcome["accuracy"][0])
    elif run.selection:
        if chosen := published.corrected_filters(model, inputs.base):
            outcome["filters"] = chosen
        shares = unit_shares(model, inputs.data.validation.images[:_LOOKED_AT].to(device, torch.float32))
        outcome["unit_share"] = {layer: round(share, 6) for layer, share in shares.items()}
    return outcome | left_out(inputs.data, test)


def _check_baseline(run: Run, accuracy: float) -> None:
    printed = paper.row(1, "Baseline", dataset=run.dataset)["accuracy"][0]
    if abs(accuracy - printed) > _TURNED + 1e-9:
        raise InputError(
            f"the authors' baseline: expected the paper's accuracy of {printed:.4f} on clean test images, got "
            f"{accuracy:.4f}; it is not the network of Tables 1 to 4, or was not read as it was written."
        )


def _tested(run: Run, model: nn.Module, test: Split, parts: Parts) -> dict:
    """Which test images are right at every level, restored first where `run` says so; of 1,000 classes also among five."""
    levels = (0.0, *run.sigmas) if run.distortion else (0.0,)
    firsts = range(0, len(test), _TESTED)
    begins = [
        [(first, start) for first in firsts for start in _cuts(run, sigma, min(_TESTED, len(test) - first))]
        for sigma in levels
    ]
    parts.total = sum(map(len, begins))
    for first in firsts:
        images = test.take(torch.arange(first, min(first + _TESTED, len(test))))
        for level, sigma in enumerate(levels):
            _test_level(run, model, images, first, level, sigma, parts)
    found = np.stack(
        [np.concatenate([parts[_part(level, *begin)] for begin in those]) for level, those in enumerate(begins)]
    )
    correct, among_five = (found == 0, found < 5) if _notes_places(run) else (found, None)
    outcome = {
        "correct": pack_bits(correct),
        "correct_count": correct.sum(1).tolist(),
        "accuracy": correct.mean(1).tolist(),
        "parameters_trained": count_parameters(model),
    }
    if among_five is not None:
        outcome |= {"among_five": pack_bits(among_five), "accuracy_of_five": among_five.mean(1).tolist()}
    return outcome


def _notes_places(run: Run) -> bool:
    """Whether a test notes the place of the true class among all, not only whether it is the first."""
    return run.network == "EfficientNet-Lite0"


def _test_level(run: Run, model: nn.Module, images: Split, first: int, level: int, sigma: float, parts: Parts) -> None:
    """All parts of one level of `images`, of which the first is number `first`."""
    cuts = _cuts(run, sigma, len(images))
    if all(_part(level, first, start) in parts for start in cuts):
        return
    device = next(model.parameters()).device
    if sigma:
        shown = distorted_copies(
            images, run.distortion, (sigma,), device=device, first=first, blur_of_bytes=run.blur_of_bytes
        )[0]
    else:
        shown = images.images.to(device, torch.float32)
    look = places_on if _notes_places(run) else hits_on
    for start in cuts:
        rows = slice(start, start + cuts.step)
        parts.find(
            _part(level, first, start),
            lambda rows=rows: look(model, _restored(run, shown[rows], sigma, parts)[None], images.labels[rows])[0],
        )


def _restored(run: Run, images: torch.Tensor, sigma: float, parts: Parts) -> torch.Tensor:
    """`images` as the network gets them; how long restoring them took is counted."""
    if not (run.restoration and sigma):
        return images
    return parts.timed("restoring", lambda: restoration.RESTORATIONS[run.restoration](images, sigma))


def _cuts(run: Run, sigma: float, count: int) -> range:
    """Where the parts of `count` images begin; short ones where each image is restored."""
    return range(0, count, _RESTORED if run.restoration and sigma else _TESTED)


def _part(level: int, first: int, start: int) -> str:
    return f"level {level} from {first + start}"


def _make_transfer(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    collection = inputs.data
    labels = collection.images.labels
    draws = [transfer.draw_split(labels, run.seed * transfer.SPLITS + number) for number in range(transfer.SPLITS)]
    parts.total = 1 + len(run.sigmas) + len(draws)
    features = _features(run, inputs.network.to(device), collection.images.images, parts)

    def classified(number: int) -> torch.Tensor:
        found = transfer.draw_accuracy(features, labels, draws[number], number, trained_on=run.trained_on, seed=run.seed)
        return torch.tensor([*found.accuracy[0], *found.costs], dtype=torch.float64)

    found = np.stack([parts.find(f"draw {n}", lambda n=n: classified(n)) for n in range(len(draws))])
    accuracy, costs = found[:, :-1], found[:, -1]
    outcome = {
        "accuracy": accuracy.mean(0).round(6).tolist(),
        "splits": accuracy.round(6).tolist(),
        "costs": costs.tolist(),
        "images": len(labels),
        "parameters_trained": None,
    }
    return outcome | left_out(collection)


def _make_embedding(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    from sklearn.manifold import TSNE  # takes seconds to import

    test = test_images(run, inputs.data)
    chosen = test.take(torch.isin(test.labels, torch.tensor(run.shown)).nonzero().flatten())
    labels = chosen.labels.numpy()
    perplexity = min(30, (len(labels) - 1) / 4)
    parts.total = 2 * (1 + len(run.sigmas))
    features = _features(run, inputs.network.to(device), chosen.images, parts).numpy()
    points = [
        parts.find(
            f"points {level}",
            lambda rows=rows: torch.from_numpy(TSNE(random_state=run.seed, perplexity=perplexity).fit_transform(rows)),
        )
        for level, rows in enumerate(features)
    ]
    outcome = {
        "labels": labels.tolist(),
        "points": np.round(np.stack(points), 2).tolist(),
        "separation": [round(own_neighbours(level, labels), 6) for level in features],
        "images": len(labels),
    }
    return outcome | left_out(inputs.data)


def _features(run: Run, model: nn.Module, images: torch.Tensor | datasets.Subset, parts: Parts) -> torch.Tensor:
    """`run.features` of all images at every level: float32 [1 + levels, N, D]."""
    return torch.stack(
        [
            parts.find(
                f"features {level}",
                lambda level=level, sigma=sigma: transfer.features_at_level(
                    model,
                    images,
                    run.features,
                    run.distortion or "blur",
                    sigma,
                    level,
                    seed=run.seed,
                    blur_of_bytes=run.blur_of_bytes,
                ),
            )
            for level, sigma in enumerate((0.0, *run.sigmas))
        ]
    )


#: The maker of each kind of run: from the run, what was gathered for it, a device and its parts to the outcome.
MAKERS: dict[str, Callable[[Run, Inputs, torch.device, Parts], dict]] = {
    "train": _make_training,
    "import": _make_import,
    "evaluate": _make_evaluation,
    "rank": make_ranking,
    "swap": make_swaps,
    "select": make_selection,
    "transfer": _make_transfer,
    "embed": _make_embedding,
    "gate": make_gate,
    "blurred": make_blurred,
    "deblurred": make_deblurred,
    "elect": make_election,
}
