"""Execute the notebooks behind the book's pages: notebooks/<name>.md -> executed/<name>.ipynb.

The pages are the `executed/` entries of `_toc.yml`. A notebook runs again only when its source, dclib, the
records or the parameters changed since its last run; what it was made from stands in its metadata. A notebook
that fails leaves no page behind. `executed/status.md` says how each page was made, and `executed/scaling.md` what more
machines are worth.
"""

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METADATA_KEY = "dclib"  # where a page keeps what it was made from
INPUTS = {  # what every page depends on, besides its own source
    "dclib": ["dclib/**/*.py", "scripts/execute.py", "constraints.txt"],
    "records": ["data/paper/*.json", "data/results/*.json", "data/weights/*", "benchmarks/results/*.json"],
}

WRITTEN = ("status", "scaling")  # pages that this script writes itself
LONGEST = "section5_1_cifar100"  # with any profile; status.md has the seconds


class Failed(Exception):
    """A page that cannot be made, said in one sentence."""


def page_names():
    """The names of the notebooks that `_toc.yml` lists, in the book's order."""
    import yaml

    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    names = [Path(entry).stem for entry in entries if entry.startswith("executed/")]
    names = [name for name in names if name not in WRITTEN]
    for name in names:
        if not (ROOT / f"notebooks/{name}.md").is_file():
            raise Failed(
                f"_toc.yml lists executed/{name}, but there is no notebooks/{name}.md: add the notebook or remove the entry."
            )
    return names


def digest(patterns):
    """SHA-256 over the paths and contents of all files that match `patterns` below the project's root."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}):
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def read_run(page):
    """What the executed notebook `page` says about its own making; None when there is no such page."""
    try:
        return json.loads(page.read_text(encoding="utf-8"))["metadata"][METADATA_KEY]
    except (FileNotFoundError, KeyError, ValueError):
        return None


def changed_inputs(run, inputs):
    """Which of `inputs` changed since `run`; all of them when there was no run."""
    return [key for key, value in inputs.items() if run is None or run["inputs"].get(key) != value]


def read_source(name):
    """The text notebook `name` as an nbformat notebook; it must have one cell tagged `parameters`."""
    import jupytext

    notebook = jupytext.read(ROOT / f"notebooks/{name}.md")
    if sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) != 1:
        raise Failed(
            f"notebooks/{name}.md: expected one code cell tagged `parameters`, which sets profile, "
            "device, recompute and seed."
        )
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return notebook


def execute(name, inputs, output, threads, environment):
    """Execute one notebook, in a kernel of this process; returns what its metadata says about the run.

    `output`/`name`.ipynb is written whole, and only on success.
    """
    import nbformat
    import papermill

    from dclib.files import write_whole

    logs = ROOT / "_build/logs"
    page, source = output / f"{name}.ipynb", logs / f"{name}.ipynb"
    os.dup2(os.open(logs / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(OMP_NUM_THREADS=str(threads), TQDM_DISABLE="1")
    try:
        nbformat.write(read_source(name), source)
        with own_kernel():
            notebook = papermill.execute_notebook(source, None, inputs["parameters"], cwd=ROOT, progress_bar=False)
        hide_untrue_parameters(notebook, inputs["parameters"], papermill.inspect_notebook(str(source)))
        notebook.metadata[METADATA_KEY] = run = describe_run(notebook, inputs, environment)
        write_whole(page, nbformat.writes(notebook).encode() + b"\n", "choose another with --output")
    except papermill.PapermillExecutionError as error:
        print(error, file=sys.stderr)
        raise Failed(
            f"notebooks/{name}.md failed in the cell that begins with "
            f"{first_line(error.source)!r}: {error.ename}: {error.evalue}"
        ) from None
    except Failed:
        raise
    except Exception as error:
        traceback.print_exc()
        raise Failed(f"notebooks/{name}.md could not be executed: {type(error).__name__}: {error}") from None
    return run


@contextmanager
def own_kernel():
    """This environment's own kernel answers to the name python3, whatever else is installed under that name.

    A hub puts kernels of other environments into JUPYTER_PATH, where Jupyter looks first: so ours goes before them.
    """
    from ipykernel.kernelspec import write_kernel_spec

    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory(prefix="dclib-kernel-") as folder:
        write_kernel_spec(Path(folder, "kernels", "python3"))
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH")
            if before is not None:
                os.environ["JUPYTER_PATH"] = before


def hide_untrue_parameters(notebook, given, defaults):
    """Leave one of the two parameter cells on the page: papermill's, or the notebook's own if it says the same."""
    same = all(ast.literal_eval(defaults[key]["default"]) == value for key, value in given.items())
    hidden = "injected-parameters" if same else "parameters"
    for cell in notebook.cells:
        if hidden in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")


def first_line(code):
    """The first line of code in a cell, to find it by."""
    return next((line.strip() for line in code.splitlines() if line.strip() and not line.startswith("#")), "empty")


def describe_run(notebook, inputs, environment):
    """What a page says about its own making; peak memory is that of the kernel, the only child of this process."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS, kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return {
        "inputs": inputs,
        "environment": environment,
        "peak_memory_mb": round(peak / 2**20),
        "seconds": round(notebook.metadata.papermill["duration"], 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def made_on(device):
    """The machine and the versions, as the records name them."""
    from dclib.execution.environment import environment

    found = environment(device)
    return (
        f"{found['device']}, Python {found['python']}, torch {found['torch']}, dclib {found['dclib']}, "
        f"commit {found['commit']}"
    )


def execute_all(names, inputs, output, jobs, environment):
    """Execute `names`, `jobs` at a time, each in a fresh process; returns the sentences of those that failed."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    os.environ["PYTHONWARNINGS"] = "ignore::UserWarning:multiprocessing.resource_tracker"  # its words after Ctrl-C
    context = multiprocessing.get_context("spawn")
    failures = []
    pool = ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1)
    running = {pool.submit(execute, name, inputs[name], output, threads, environment): name for name in in_order(names)}
    for future in as_completed(running):
        try:
            run = future.result()
            print(f"  {running[future]}: {run['seconds']:.0f} s, {run['peak_memory_mb']} MB", flush=True)
        except Failed as failure:
            (output / f"{running[future]}.ipynb").unlink(missing_ok=True)
            failures.append(str(failure))
            print(f"  {running[future]}: failed", flush=True)
    pool.shutdown()
    return failures


def in_order(names):
    """The longest page, so that nobody waits for it alone in the end; then the others from both ends.

    That is first, last, second, last but one, ..: neighbours need the same runs, and would wait for each other.
    """
    others = [name for name in names if name != LONGEST]
    ends = [name for pair in zip(others, reversed(others)) for name in pair][: len(others)]
    return [name for name in names if name == LONGEST] + ends


def write_status(names, inputs, output):
    """Write `status.md`: how each page was made, and whether it is older than what it was made from."""
    runs = {name: read_run(output / f"{name}.ipynb") for name in names}
    text = "\n".join(
        [
            "# Status of the pages",
            "",
            "Each page of results was executed by papermill. A page is *current* when its source, dclib and the records",
            "are still those that it was made from. Times are UTC.",
            "",
            "| page | state | profile | seconds | memory | executed |",
            "|---|---|---|---:|---:|---|",
            *(status_row(name, run, inputs[name]) for name, run in runs.items()),
            "",
            "Made with",
            "",
            *environments(runs),
            "",
        ]
    )
    write_changed(output / "status.md", text)


def write_scaling(output):
    """Write `scaling.md`, which is arithmetic over the records."""
    from dclib.results import published
    from dclib.tables import scaling

    write_changed(output / "scaling.md", scaling.page(published()))


def write_changed(path, text):
    """Write a page unless it is there already, so that an unchanged book is left alone."""
    from dclib.files import write_whole

    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text.encode(), "choose another with --output")


def status_row(name, run, inputs):
    """The row of the status table for one page."""
    if run is None:
        return f"| {name} | not executed yet | | | | |"
    changed = changed_inputs(run, inputs)
    state = f"older than its {' and '.join(changed)}" if changed else "current"
    return (
        f"| {{doc}}`{name}` | {state} | {run['inputs']['parameters']['profile']} | {run['seconds']:.0f} "
        f"| {run['peak_memory_mb']} MB | {run['date']} |"
    )


def environments(runs):
    """A list item for each machine with its versions, naming its pages if there are several machines."""
    pages = {}
    for name, run in runs.items():
        if run is not None:
            pages.setdefault(run["environment"], []).append(f"{{doc}}`{name}`")
    return [f"- {made_with}" + (f" ({', '.join(names)})" if len(pages) > 1 else "") for made_with, names in pages.items()]


def parse_arguments(arguments):
    """The command line; a parameter that is not given keeps the notebook's own default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="notebooks to execute, e.g. section3_setup (default: all)")
    parser.add_argument("--profile", default="miniature", choices=["smoke", "miniature", "small", "paper"])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--recompute", action="store_true", help="make the runs again, even where records exist")
    parser.add_argument("--output", type=Path, default=Path("executed"), help="folder of the executed notebooks")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="notebooks executed at the same time")
    parser.add_argument("--status-only", action="store_true", help="execute nothing, only write status.md")
    return parser.parse_args(arguments)


def main(arguments=None):
    """Execute what changed and write the status page; returns the exit code."""
    options = parse_arguments(arguments)
    given = {
        "profile": options.profile,
        "device": options.device,
        "seed": options.seed,
        "recompute": options.recompute or None,
    }
    parameters = {key: value for key, value in given.items() if value is not None}
    output = ROOT / options.output
    for folder in (output, ROOT / "_build/logs"):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        pages = page_names()
        if unknown := sorted(set(options.names) - set(pages)):
            raise Failed(f"no such page: {', '.join(unknown)}; _toc.yml lists {', '.join(pages)}.")
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    shared = {key: digest(patterns) for key, patterns in INPUTS.items()}
    inputs = {name: {"source": digest([f"notebooks/{name}.md"]), "parameters": parameters} | shared for name in pages}
    due = (
        []
        if options.status_only
        else [
            name
            for name in options.names or pages
            if options.recompute or changed_inputs(read_run(output / f"{name}.ipynb"), inputs[name])
        ]
    )
    if due:
        others = " The others are unchanged." if len(due) < len(pages) else ""
        print(f"Executing {len(due)} of {len(pages)} notebooks with the profile {options.profile}.{others}", flush=True)
    else:
        print("All notebooks are executed and unchanged.")
    failures = execute_all(due, inputs, output, options.jobs, made_on(options.device)) if due else []
    write_status(pages, inputs, output)
    write_scaling(output)
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        print("The full logs are in _build/logs.", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr, flush=True)
        os._exit(130)  # not sys.exit, which would wait for the notebooks that have not begun
