"""Each of the paper's figures from its records, as panels: the paper's curves where they are published, and ours."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from dclib import correction, experiments, figures, paper
from dclib.datasets import Dataset
from dclib.distortions import DISTORTIONS, LEVELS
from dclib.errors import InputError
from dclib.evaluation import all_levels
from dclib.execution import data_for, network
from dclib.experiments import FRACTIONS, imagenet, profile, rows, target_of
from dclib.experiments.profiles import PREFERRED
from dclib.figures import diagrams
from dclib.models import AlexNet, shapes_alone
from dclib.results import Record, Store, unpack_filters
from dclib.tables import joint
from dclib.verdicts import judgement, measures, susceptibility
from dclib.verdicts.joint import Orders

Panels = list[Figure]
#: Levels of which images and planes are shown, 0 clean.
_SHOWN = (0, 2, 4, 6)


def panels(target: str, profile_name: str, store: Store) -> Panels:
    """The panels of one of Figures 1 to 12, or of AlexNet's half of Figures 4 and 5, at one profile.

    Raises:
        InputError: no figure; nothing to draw, for the runs were not made; a profile without this half of the paper.
    """
    if target not in DRAWN:
        raise InputError(f"figure: expected one of {', '.join(DRAWN)}, got {target!r}.")
    profile(profile_name)  # its sentence where there is none of that name
    found = DRAWN[target](profile_name, store)
    if not found:
        runs_of = target_of(target).runs_of
        if not rows(runs_of, profile(profile_name)):
            raise InputError(
                f"{target}: expected a profile with these runs, got {profile_name!r}; use one of {', '.join(PREFERRED)}."
            )
        raise InputError(
            f"{target}: expected records to draw, got none in profile {profile_name}; make them with "
            f"`dclib run {runs_of} --profile {profile_name}`."
        )
    return found


def _records(target: str, profile_name: str, store: Store) -> dict[str, list[Record]]:
    """{label: records} of the rows that have any."""
    found = {
        label: [record for run in runs if (record := store.get(run))]
        for label, runs in rows(target, profile(profile_name)).items()
    }
    return {label: records for label, records in found.items() if records}


def _sigmas(dataset: str, distortion: str, shown: Sequence[int] = range(7)) -> list[float]:
    """The levels of a data set by their numbers, 0 for clean."""
    return [(0, *LEVELS[dataset][distortion])[level] for level in shown]


def _predictions(profile_name: str, store: Store) -> Panels:
    """Figure 1: the first choices of the baseline for images of three classes, clean and distorted."""
    run = experiments.baseline(profile(profile_name), profile(profile_name).seeds[0])
    model, data = network(run, store), data_for(run)
    images = data.test.take(torch.tensor([_first_right(model, data, label) for label in range(3)]))
    names = [data.classes[int(label)] for label in images.labels]
    drawn = []
    for distortion in DISTORTIONS:
        levels = all_levels(images, distortion, LEVELS["cifar100"][distortion])[list(_SHOWN)]
        with torch.inference_mode():
            confidence, best = zip(*(model(level).softmax(1).max(1) for level in levels))
        first = [[data.classes[int(level[i])] for level in best] for i in range(len(names))]
        drawn.append(
            figures.predictions(
                levels.numpy().swapaxes(0, 1),
                names,
                first,
                torch.stack(confidence, 1).numpy(),
                distortion,
                _sigmas("cifar100", distortion, _SHOWN),
                f"here, {profile_name}",
            )
        )
    return drawn


def _first_right(model: torch.nn.Module, data: Dataset, label: int) -> int:
    """The first test image of a class that is classified right when it is clean; the first one if none is."""
    members = (data.test.labels == label).nonzero().flatten()
    with torch.inference_mode():
        right = members[model(data.test.images[members].float()).argmax(1) == label]
    return int((right if len(right) else members)[0])


def _embeddings(profile_name: str, store: Store, methods: tuple[str, ...]) -> Panels:
    """Figures 2 and 10: penultimate features in the plane."""
    found, drawn = _records("figure10", profile_name, store), []
    for distortion in DISTORTIONS:
        own = {m: found[f"{m} {distortion}"][0] for m in methods if f"{m} {distortion}" in found}
        if own:
            record = next(iter(own.values()))
            shown = record.description["shown"]
            drawn.append(
                figures.embeddings(
                    {method: np.array(record.outcome["points"])[list(_SHOWN)] for method, record in own.items()},
                    np.searchsorted(shown, record.outcome["labels"]),
                    _class_names(record.description["dataset"], shown),
                    distortion,
                    _sigmas("imagenet", distortion, _SHOWN),
                )
            )
    return drawn


def _class_names(dataset: str, labels: Sequence[int]) -> list[str]:
    names = imagenet.CLASSES.get(dataset)
    return [names[label] if names else f"class {label}" for label in labels]


def _architectures(profile_name: str, store: Store) -> Panels:
    """Figure 3: the two networks."""
    return [diagrams.architecture(), diagrams.architecture(_alexnet())]


def _corrected_architectures(profile_name: str, store: Store) -> Panels:
    """Figure 8: both networks with their correction units, with the paper's own widths."""
    whole = profile("paper")
    counts = {layer: whole.narrow if i < 3 else whole.wide for i, layer in enumerate(experiments.CONV[:6])}
    return [
        diagrams.deepcorrect_architecture(3, counts),
        diagrams.deepcorrect_architecture(5, imagenet.ALEXNET_FILTERS, _alexnet()),
    ]


def _alexnet() -> AlexNet:
    with shapes_alone():
        return AlexNet()


def _swaps(dataset: str, target: str, draw: Callable) -> Callable[[str, Store], Panels]:
    """Figures 4 and 5: the paper's panel and ours for each distortion; draw(curves, distortion, source, before)."""

    def panels_of(profile_name: str, store: Store) -> Panels:
        drawn = []
        for distortion in DISTORTIONS:
            drawn += draw(paper.swap_fractions(dataset, distortion), distortion, "the paper", None)
            if rows(target, profile(profile_name)) and (
                own := judgement.swap_curves(profile_name, distortion, store, target)
            ):
                drawn += draw(own, distortion, f"here, {profile_name}", own.before)
        return drawn

    return panels_of


def _fractions(dataset: str) -> Callable:
    return lambda curves, distortion, source, before: [
        figures.swap_fractions(curves["conv1"], FRACTIONS, distortion, LEVELS[dataset][distortion], source, before=before)
    ]


def _layers(dataset: str, fraction: float) -> Callable:
    return lambda curves, distortion, source, before: [
        figures.swap_layers(
            {layer: accuracy[FRACTIONS.index(fraction)] for layer, accuracy in curves.items()},
            fraction,
            distortion,
            LEVELS[dataset][distortion],
            source,
            before=before,
        )
    ]


def _both(*draws: Callable) -> Callable:
    return lambda *arguments: [panel for draw in draws for panel in draw(*arguments)]


def _orders(profile_name: str, store: Store) -> Panels:
    """Figure 4 in two orders of conv1's filters: each by itself, or beside those chosen."""
    return [joint_panel(found[0], f"here, {profile_name}") for found in joint.layers_recorded(profile_name, store).values()]


def joint_panel(found: Orders, source: str) -> Figure:
    """Both orders of one layer under one distortion."""
    return figures.swap_orders(
        found.joint.mean(1),
        found.single.mean(1),
        FRACTIONS,
        found.distortion,
        source,
        layer=found.layer,
        before=float(found.before.mean()),
    )


def _first_filters(profile_name: str, store: Store) -> Panels:
    """Figure 6: AlexNet's first filters, those that respond to colour framed, and the half that is most susceptible."""
    found = _records("figure6", profile_name, store)
    if not found:
        return []
    weights = unpack_filters(next(iter(found.values()))[0].outcome["first_filters"])
    colour = susceptibility.colour_share(torch.from_numpy(weights))
    coloured = colour >= susceptibility.valley(colour)
    return [figures.filters(weights, range(len(weights)), "All filters of conv1", colour_specific=coloured)] + [
        figures.filters(
            weights,
            susceptibility.top_half(records[0]),
            f"Most susceptible to {figures.NAMES[distortion]}",
            colour_specific=coloured,
        )
        for distortion, records in found.items()
    ]


def _first_layer(profile_name: str, store: Store) -> Panels:
    """Figure 9: accuracy over levels by how filters of conv1 were chosen; of random ones the mean over the draws."""
    found, drawn = _records("figure9", profile_name, store), []
    choices = [f"{order}_{share}" for order in ("ranked", "random") for share in experiments.SHARES] + ["ranked_48_least"]
    for distortion in DISTORTIONS:
        curves = {
            choice: np.mean([r.accuracy for r in found[f"{choice} {distortion}"]], axis=0)
            for choice in choices
            if f"{choice} {distortion}" in found
        }
        if curves:
            drawn.append(
                figures.accuracy_over_levels(curves, distortion, LEVELS["cifar100"][distortion], f"here, {profile_name}")
            )
    return drawn


def _classes(profile_name: str, store: Store) -> Panels:
    """Figure 11: accuracy of Deepcorr-5 minus that of Finetune-8, class by class."""
    found, drawn = _records("figure11", profile_name, store), []
    for distortion in DISTORTIONS:
        pair = [found.get(f"{method} {distortion}") for method in ("Deepcorr-5", "Finetune-8")]
        if all(pair):
            half = profile(profile_name).imagenet
            ours, others = (measures.per_class(records[0], half.classes) for records in pair)
            drawn.append(
                figures.class_difference(
                    ours - others, _class_names(half.dataset, range(half.classes)), distortion, f"here, {profile_name}"
                )
            )
    return drawn


def _speed(profile_name: str, store: Store) -> Panels:
    """Figure 12: validation accuracy over iterations, as the paper's picture shows it and as our records have it."""
    found, drawn = _records("figure12", profile_name, store), []
    for distortion in DISTORTIONS:
        title = figures.TITLES[distortion]
        drawn.append(figures.training_curves(*paper.training_curves(distortion), f"{title}: the paper"))
        methods = ("Finetune-8", *imagenet.VARIANTS)
        if own := [found[f"{m} {distortion}"][0] for m in methods if f"{m} {distortion}" in found]:
            drawn.append(figures.learning_curves(own, f"{title}: here, {profile_name}"))
    return drawn


#: What draws each figure: (profile, store) -> panels, none where the runs were not made.
DRAWN: dict[str, Callable[[str, Store], Panels]] = {
    "figure1": _predictions,
    "figure2": lambda profile_name, store: _embeddings(profile_name, store, ("Baseline",)),
    "figure3": _architectures,
    "figure4": _swaps("cifar100", "figure4", _fractions("cifar100")),
    "figure4_joint": _orders,
    "figure5": _swaps("cifar100", "figure5", _layers("cifar100", 0.5)),
    "figure6": _first_filters,
    "figure7": lambda profile_name, store: [diagrams.correction_unit(correction.CRITICALLY_WIDE)],
    "figure8": _corrected_architectures,
    "figure9": _first_layer,
    "figure10": lambda profile_name, store: _embeddings(profile_name, store, ("Baseline", "Deepcorr-5")),
    "figure11": _classes,
    "figure12": _speed,
    "figure4_imagenet": _swaps("imagenet", "figure4_imagenet", _both(_fractions("imagenet"), _layers("imagenet", 0.75))),
}
