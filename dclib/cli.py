"""`dclib ...`: list, run and show tables and figures; move records between machines."""

import argparse
import os
import signal
import sys

from dclib.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for input that the user can mend, 130 or 143 when interrupted or terminated."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a pipe on Windows, or the C locale, has no sign for all that we print
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        options.act(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"dclib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print("\ndclib: stopped; the same command goes on from here.", file=sys.stderr)
        number = stopped.args[0] if stopped.args else signal.SIGINT
        return 128 + number  # as shells say it
    except BrokenPipeError:  # the reader of our output left early, e.g. `| head`; the flush at exit is to be silent too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dclib", description="Tables and figures of DeepCorrect, made again.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="which tables and figures there are, and how much of each was run")
    _common(listing)
    listing.add_argument(
        "--missing", action="store_true", help="what lacks records, how long that will take, and the command that makes it"
    )
    listing.set_defaults(act=_list)

    run = commands.add_parser("run", help="make the runs behind tables and figures that have no record yet")
    run.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="table1 .. figure12, or cifar100 or imagenet for that half of the paper, or efficientnet (default: cifar100)",
    )
    _common(run)
    run.add_argument("--seeds", type=int, nargs="+", help="default: the profile's")
    run.add_argument(
        "--methods", nargs="+", metavar="METHOD", help="these alone and what they need, in this order, such as Deepcorr-6"
    )
    _making(run)
    run.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of this dask scheduler make the runs, such as tcp://host:8786",
    )
    run.set_defaults(act=_run)

    authors = commands.add_parser(
        "authors", help="test the networks that the authors published, for whoever has their files"
    )
    authors.add_argument(
        "path", metavar="PATH", help="a clone of their repository, or a folder with files of its cifar_models/"
    )
    authors.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="table1 .. table4, figure4, figure5 (default: all); the rest of them is made by dclib run --profile authors",
    )
    authors.add_argument("--results", help=_RESULTS)
    _making(authors)
    authors.set_defaults(act=_authors, scheduler=None)

    show = commands.add_parser("show", help="a table beside the paper's numbers, or a figure as a file")
    show.add_argument("target", metavar="TARGET", help="table1 .. table15, or with --output figure1 .. figure12")
    _common(show)
    show.add_argument("--format", choices=("text", "markdown", "csv"), default="text", help="of a table (default: text)")
    show.add_argument("--output", metavar="FILE", help="write a figure there; .svg, .png or .pdf decides how")
    show.set_defaults(act=_show)

    results = commands.add_parser("results", help="move records between machines")
    moves = results.add_subparsers(required=True, metavar="DIRECTION")
    for name, act, text in (
        ("export", _export, "all records, and what another machine needs to go on, into one archive"),
        ("import", _import, "the records of an archive into the results folder"),
    ):
        move = moves.add_parser(name, help=text)
        move.add_argument("archive")
        move.add_argument("--results", help="results folder")
        if name == "export":
            move.add_argument(
                "--weights",
                choices=("none", "baselines", "all"),
                default="baselines",
                help="which trained networks to add (default: baselines, and checkpoints)",
            )
        move.set_defaults(act=act)
    return parser


_RESULTS = "results folder (default: DCLIB_RESULTS, else data/results)"


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", default="small", help="smoke, miniature, small (default), short-training, imagenet20, paper or authors"
    )
    parser.add_argument("--results", help=_RESULTS)


def _making(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda where there is one)")
    parser.add_argument("--time-budget", metavar="9m", help="stop after this long, with a checkpoint")
    parser.add_argument("--recompute", action="store_true", help="make runs again although they have records")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs made at once, a process each (default 1)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="cores of each job (default: 1 with several jobs, else all)"
    )
    parser.add_argument(
        "--nice",
        type=int,
        metavar="N",
        help="how far jobs stand back behind other processes, 0 to 19 (default: 10 with several jobs, else 0)",
    )
    parser.add_argument("--quiet", action="store_true", help="no line of progress")


def _list(options: argparse.Namespace) -> None:
    from dclib.execution.missing import about_unasked
    from dclib.experiments import TARGETS, profile, queue
    from dclib.results import Store

    p, store = profile(options.profile), Store(options.results)
    if options.missing:
        _list_missing(options.profile, store)
    for target in TARGETS if not options.missing else ():
        if not TARGETS[target].rows or not (runs := queue((target,), p)):
            continue  # needs no run, or this profile has no ImageNet half
        there = sum(store.get(run) is not None for run in runs)
        print(f"{target:16} {there:3} of {len(runs):3} runs recorded")
    if sentence := about_unasked(store):
        print(sentence)


def _list_missing(profile_name: str, store) -> None:
    from dclib.execution.forecast import Forecast, duration
    from dclib.execution.missing import missing
    from dclib.results import published

    lacking = missing(profile_name, store, Forecast([*store.readable(), *published().readable()]))
    for found in lacking:
        print(f"{found.name}: {len(found.runs)} run{'s' * (len(found.runs) > 1)}, {found.expected}: {found.command}")
    seconds, unknown = sum(found.seconds for found in lacking), sum(found.unknown for found in lacking)
    if not lacking:
        print(f"Nothing is missing in profile {profile_name}.")
    elif len(lacking) > 1:
        known = f"about {duration(seconds)} with one job" if seconds else ""
        rest = f"{unknown} run{'s' * (unknown > 1)} of unknown length" if unknown else ""
        print(f"All together: {' and '.join(filter(None, (known, rest)))}.")


def _run(options: argparse.Namespace) -> None:
    from dclib.experiments import HALVES, TARGETS, of_methods, profile, queue
    from dclib.results import Store

    p = profile(options.profile)
    targets = [t for name in options.targets or ["cifar100"] for t in HALVES.get(name, (name,))]
    if unknown := [t for t in targets if t not in TARGETS]:
        raise InputError(f"target: expected some of {', '.join((*HALVES, *TARGETS))}, got {unknown[0]!r}.")
    if idle := [t for t in targets if not TARGETS[t].runs_of]:
        raise InputError(
            f"target: expected one that runs are made for, got {idle[0]!r}, which needs none; show it with "
            f"dclib show {idle[0]}."
        )
    seeds = tuple(options.seeds) if options.seeds else None
    if bad := [seed for seed in seeds or () if not 0 <= seed < 2**32]:
        raise InputError(f"seeds: expected whole numbers from 0 to 2**32 - 1, got {bad[0]}.")
    runs = queue(tuple(targets), p, seeds)
    chosen = of_methods(runs, options.methods) if options.methods else runs
    _sweep(options, Store(options.results), lambda device: chosen)


def _authors(options: argparse.Namespace) -> None:
    from dclib.execution.authors import bring_in
    from dclib.experiments import profile
    from dclib.experiments.published import FILES
    from dclib.results import Store

    known = profile("authors").targets
    if unknown := [t for t in options.targets if t not in known]:
        raise InputError(
            f"target: expected some of {', '.join(known)}, got {unknown[0]!r}; the authors' networks have no other."
        )
    store = Store(options.results)

    def brought(device: str) -> tuple:
        found = bring_in(options.path, store, targets=tuple(options.targets), device=device)
        lacking = f"; not there: {', '.join(found.lacking)}" if found.lacking else ""
        print(
            f"{len(FILES) - len(found.lacking)} of {len(FILES)} networks of the authors are as they were published{lacking}.",
            flush=True,
        )
        return found.runs

    _sweep(options, store, brought)


def _sweep(options: argparse.Namespace, store, runs_on) -> None:
    """Make the runs that `runs_on` gives for a device."""
    import torch

    from dclib.execution.missing import about_unasked
    from dclib.execution.runner import parse_duration, sweep
    from dclib.training import distributed

    budget = None if options.time_budget is None else parse_duration(options.time_budget)
    own = "" if options.scheduler else "cuda" if torch.cuda.is_available() else "cpu"  # "": each worker takes its own
    device = distributed.start(options.device or own)
    if distributed.world_size() > 1 and options.jobs > 1:
        raise InputError(f"jobs: expected 1 under torchrun, got {options.jobs}; its processes share each run.")
    first = distributed.rank() == 0
    swept = sweep(
        runs_on(device),
        store,
        device=device,
        time_budget=budget,
        recompute=options.recompute,
        progress=first and not options.quiet,
        jobs=options.jobs,
        threads=options.threads,
        nice=options.nice,
        scheduler=options.scheduler,
        gentle=True,
        **({} if first else {"say": str}),
    )
    distributed.stop()
    if not first:
        return
    ending = "; the time budget ended, the same command goes on" if swept.out_of_time else ""
    print(f"{swept.done} of {swept.done + swept.left} runs recorded in {store.folder}{ending}.")
    if sentence := about_unasked(store):
        print(sentence)


def _show(options: argparse.Namespace) -> None:
    from dclib.results import Store

    store = Store(options.results)
    if _is_figure(options.target):
        _show_figure(options, store)
    else:
        _show_table(options, store)


def _is_figure(target: str) -> bool:
    if not target.startswith("figure"):
        return False
    from dclib.tables.drawn import DRAWN  # brings what draws, for which a table does not wait

    return target in DRAWN


def _show_figure(options: argparse.Namespace, store) -> None:
    from dclib.experiments import target_of
    from dclib.figures.files import write
    from dclib.tables import source_line
    from dclib.tables.drawn import panels

    if options.output is None:
        raise InputError(
            f"output: expected a file for the figure, got none; write it with `dclib show {options.target} "
            f"--output {options.target}.svg`."
        )
    print(f"{write(panels(options.target, options.profile, store), options.output)} written.")
    if runs_of := target_of(options.target).runs_of:
        print(source_line(runs_of, options.profile, store))


def _show_table(options: argparse.Namespace, store) -> None:
    from dclib.experiments import target_of
    from dclib.tables import source_line
    from dclib.tables.shown import FORMATS, frame

    if options.output is not None:
        raise InputError(
            f"output: expected none for a table, which is printed, got {options.output!r}; choose a figure or "
            "send what is printed to the file."
        )
    print(FORMATS[options.format](frame(options.target, options.profile, store)))
    if options.format == "csv":
        return  # for programs, which read no sentence
    if options.format == "markdown":
        print()
    counted = "Counted from the networks; no run is needed."
    print(source_line(options.target, options.profile, store) if target_of(options.target).runs_of else counted)


def _export(options: argparse.Namespace) -> None:
    from dclib.results import Store

    print(f"{Store(options.results).export(options.archive, options.weights)} records exported to {options.archive}.")


def _import(options: argparse.Namespace) -> None:
    from dclib.results import Store

    store = Store(options.results)
    print(f"{store.import_(options.archive)} records imported into {store.folder}.")


if __name__ == "__main__":
    sys.exit(main())
