"""The authors' networks brought in: the files of a folder of theirs checked, read and kept as weights, ready to be tested."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import nn

from dclib.errors import InputError
from dclib.execution.inputs import filters_of, untrained, with_method
from dclib.execution.obtaining import obtain
from dclib.experiments import Run, profile, queue
from dclib.experiments.published import FILES, FOLDER
from dclib.published import checked_file, load_arrays, read_arrays
from dclib.results import Store


@dataclass(frozen=True)
class Brought:
    """What `bring_in` found: the runs that can be made now, of value first, and the names of the files that lack."""

    runs: tuple[Run, ...]
    lacking: tuple[str, ...]


def bring_in(folder: str | Path, store: Store, *, targets: tuple[str, ...] = (), device: str = "cpu") -> Brought:
    """Read the authors' networks, and keep them as weights of the runs of the profile "authors".

    Every file is checked before the first is read, and read before anything is kept. The baseline is tested at once: no
    network of theirs is kept unless it reaches the paper's accuracy on clean images.

    Args:
        folder: a clone of the authors' repository, or a folder with their files.
        targets: the tables and figures of the profile that runs are wanted for; all when empty.

    Raises:
        InputError: no folder, none of the files there, no baseline among them; a file that is not the published one, or is
            no list of the arrays of its network; a baseline of another accuracy.
    """
    runs = queue(targets or profile("authors").targets, profile("authors"))
    names = {
        run: next(name for name, blob in FILES.values() if blob == run.blob)
        for run in queue(profile("authors").targets, profile("authors"))
        if run.blob
    }
    networks = _converted(names, Path(folder))
    baseline = next(run for run in networks if run.base is None)
    _keep(baseline, networks.pop(baseline), store)
    try:
        obtain(baseline, store, device=device)
    except InputError:
        for path in (store.weights(baseline), store.checkpoint(baseline)):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    for run, network in networks.items():
        _keep(run, network, store)
    there = {baseline, *networks}
    return Brought(
        tuple(run for run in runs if all(link in there for link in _of_authors(run))),
        tuple(name for run, name in names.items() if run not in there),
    )


def _converted(names: dict[Run, str], folder: Path) -> dict[Run, nn.Module]:
    """The network of every run whose file is in `folder`."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a clone of the authors' repository or a folder of their files, got none; name another."
        )
    paths = {run: path for run, name in names.items() if (path := _found(folder, name))}
    baseline, name = next((run, name) for run, name in names.items() if run.base is None)
    if baseline not in paths:
        raise InputError(
            f"{folder}: expected the authors' {FOLDER}/{name}, which all others are measured against, got "
            f"{f'{len(paths)} others' if paths else 'none of their files'}; name a clone of their repository."
        )
    contents = {run: checked_file(path, run.blob) for run, path in paths.items()}
    base = untrained(baseline, None)
    networks = {}
    for run in sorted(contents, key=lambda run: run.base is not None):  # the others are made of the baseline
        network = base if run is baseline else with_method(run, base, filters_of(run, None) if run.selection else {})
        load_arrays(network, read_arrays(contents[run], str(paths[run])), str(paths[run]))
        networks[run] = network
    return networks


def _found(folder: Path, name: str) -> Path | None:
    """The file called `name` in a clone, or in its folder of networks; None where it is not there."""
    return next((path for path in (folder / FOLDER / name, folder / name) if path.exists()), None)


def _keep(run: Run, network: nn.Module, store: Store) -> None:
    store.put_weights(run, save({name: value.contiguous() for name, value in network.state_dict().items()}))


def _of_authors(run: Run) -> list[Run]:
    """The networks of the authors that `run` rests on, itself if it tests one."""
    return [link for needed in run.needs for link in _of_authors(needed)] + ([run] if run.blob else [])
