"""Pack what a repository such as Zenodo keeps: the book, the records and how each was made, networks, sources, locks.

    python scripts/archive.py        (make archive; needs the extra `archive`)

The result is one zip file, an RO-Crate of the profile Process Run Crate 0.5: its ro-crate-metadata.json, which the package
rocrate writes, tells for every record which command made it, from which data by their fingerprint, on which machine, at
which commit of the sources. The package roc-validator looks at it before the file gets its name.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import yaml

from dclib.errors import InputError
from dclib.experiments import PROFILES, TARGETS, profile, rows
from dclib.files import whole
from dclib.results import Record, Store

try:
    from rocrate.model import ContextEntity, SoftwareApplication
    from rocrate.rocrate import ROCrate
    from rocrate_validator import models, services
    from rocrate_validator.errors import ValidationExecutionError
except ImportError:
    sys.exit(
        "make archive: expected the packages rocrate and roc-validator, got none; .venv/bin/pip install -e '.[archive]'"
    )

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build/html"
OUTPUT = ROOT / "_build/deepcorrect.crate.zip"
#: What the metadata promises, and its address.
PROFILE, ADDRESS = "process-run-crate-0.5", "https://w3id.org/ro/wfrun/process/0.5"
PROFILE_NAME = "Process Run Crate"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
TEXTS = {
    "README.md": "text/markdown",
    "LICENSE": "text/plain",
    "LICENSES.md": "text/markdown",
    "CITATION.cff": "text/yaml",
    "CHANGELOG.md": "text/markdown",
    "constraints.txt": "text/plain",
    "requirements.lock": "text/plain",
}
ABOUT = {
    "constraints.txt": "The exact version of every package behind the book.",
    "requirements.lock": "The same with the SHA-256 of every file, for pip install --require-hashes.",
}
#: Seconds since 1970 that a file of the zip has, for equal contents to be equal files: the zip format begins with 1980.
_DATE = 315_619_200


@lru_cache(maxsize=1)
def commands() -> dict[str, str]:
    """{id of a run: the command that makes it}, the first of those that do."""
    found: dict[str, str] = {}
    for name in PROFILES:
        for target in TARGETS:
            for run in (run for row in rows(target, profile(name)).values() for run in row):
                made = "dclib authors PATH" if profile(name).published else f"dclib run {target} --profile {name}"
                for one in (run, *run.needs):
                    found.setdefault(one.id, made)
    return found


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def sources(folder: Path) -> str:
    """The sources at HEAD as a zip file in `folder`; returns the commit. What is packed beside them was made from them."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("archive", "--format=zip", f"--output={folder / 'sources.zip'}", "HEAD")
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"make archive: expected a git checkout, got none in {ROOT}; clone the project.") from error
    if changed:
        raise InputError(
            f"make archive: expected sources as they are committed, got changes:\n{changed}\nCommit them first."
        )
    return commit


def begun(release: str, commit: str) -> tuple[ROCrate, SoftwareApplication]:
    """A crate that names the work, its licence and makers; and dclib, the instrument of every run."""
    cited, crate = citation(), ROCrate(version="1.1")
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    crate.name, crate.description = cited["title"], " ".join(cited["abstract"].split())
    crate.license = crate.add(
        ContextEntity(
            crate,
            "https://spdx.org/licenses/MIT",
            {"@type": "CreativeWork", "name": "MIT License", "url": "https://spdx.org/licenses/MIT"},
        )
    )
    crate.keywords = ", ".join(cited["keywords"])
    makers = crate.add(ContextEntity(crate, "#developers", {"@type": "Organization", "name": cited["authors"][0]["name"]}))
    crate.root_dataset["author"] = makers
    crate.publisher = makers
    paper = cited["preferred-citation"]
    crate.root_dataset["citation"] = crate.add(
        ContextEntity(
            crate,
            f"https://doi.org/{paper['doi']}",
            {"@type": "ScholarlyArticle", "name": paper["title"], "identifier": paper["identifiers"][0]["value"]},
        )
    )
    crate.root_dataset["conformsTo"] = crate.add(
        ContextEntity(crate, ADDRESS, {"@type": "CreativeWork", "name": PROFILE_NAME, "version": "0.5"})
    )
    software = crate.add(
        SoftwareApplication(crate, "#dclib", {"name": "dclib", "softwareVersion": f"{release} (commit {commit})"})
    )
    return crate, software


def add_file(crate: ROCrate, source: Path, place: str, kind: str, name: str, **more):
    """A file at `place` with its size and SHA-256."""
    return crate.add_file(
        source,
        place,
        properties={
            "name": name,
            "encodingFormat": kind,
            "contentSize": str(source.stat().st_size),
            "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
            **more,
        },
    )


def add_run(crate: ROCrate, software: SoftwareApplication, record: Record, source: Path, weights: Path | None) -> None:
    """A record and, where they are small enough to be published, its network's weights; how both came about."""
    described, made = record.description, record.environment
    place = f"records/{record.id}.json"
    result = [add_file(crate, source, place, "application/json", f"Record {record.id}: {described['method']}")]
    if weights is not None:
        result.append(
            add_file(
                crate,
                weights,
                f"weights/{weights.name}",
                "application/octet-stream",
                f"Weights of record {record.id}: {described['method']}",
            )
        )
    data = crate.add(
        ContextEntity(
            crate,
            f"#{described['dataset']}-{described['fingerprint'][:16]}",
            {
                "@type": "Dataset",
                "name": described["dataset"],
                "identifier": f"fingerprint {described['fingerprint']}",
                "description": "Not in this archive: read where a reader has it, and known by its fingerprint.",
            },
        )
    )
    machine = f"{made['device']}, {made['threads']} threads, torch {made['torch']}, Python {made['python']}"
    action = crate.add_action(
        software,
        f"#run-{record.id}",
        object=[data],
        result=result,
        properties={
            "name": f"{described['method']}, {described['dataset']}, seed {described['seed']}",
            "endTime": made["date"],
            "description": f"{commands().get(record.id, 'a run of an earlier plan')}; dclib {made['dclib']} at commit "
            f"{made['commit']}; {machine}; {record.cost['seconds']:.0f} s, "
            f"{record.cost['peak_bytes'] / 1e9:.1f} GB.",
        },
    )
    crate.root_dataset.append_to("mentions", action)


def filled(folder: Path) -> ROCrate:
    """The whole crate; what git does not track of the records is not published."""
    from front import tracked

    if not (HTML / "index.html").is_file():
        raise InputError(f"make archive: expected the book in {HTML}, got none; make book first.")
    crate, software = begun(version("dclib"), sources(folder))
    software["softwareHelp"] = add_file(crate, HTML / "index.html", "book/index.html", "text/html", "The book's first page")
    crate.add_directory(
        HTML,
        "book",
        properties={
            "name": "The book",
            "encodingFormat": "text/html",
            "description": "Opens without a network: book/index.html.",
        },
    )
    add_file(crate, folder / "sources.zip", "sources.zip", "application/zip", "The sources, as of the commit named at dclib")
    for name, kind in TEXTS.items():
        add_file(crate, ROOT / name, name, kind, name, description=ABOUT.get(name, name))
    store, published = Store(ROOT / "data/results"), tracked()
    for record in store.records():
        if published is None or record.id in published:
            weights = ROOT / "data/weights" / f"{record.id}.safetensors"
            add_run(crate, software, record, store.folder / f"{record.id}.json", weights if weights.is_file() else None)
    return crate


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the validator warns of, and for its time alone."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@quiet()
def faults_of(crate: Path) -> list[str]:
    """What is wrong with an unpacked crate, by the rules that must hold. Their vocabulary is fetched once, and then kept."""
    no_answer = InputError(
        f"make archive: expected {CONTEXT}, by which the archive is checked, got no answer; connect this "
        "machine once, and it is kept (rocrate-validator cache warm)."
    )
    try:
        found = services.validate(
            models.ValidationSettings(
                rocrate_uri=models.URI(str(crate)),
                profile_identifier=PROFILE,
                requirement_severity=models.Severity.REQUIRED,
                skip_availability_check=True,
            )
        )
    except ValidationExecutionError as error:
        if "urlopen" not in str(error):
            raise
        raise no_answer from error
    wrong = [f"{issue.check.identifier}: {issue.message}" for issue in found.get_issues()]
    if any("Unable to retrieve the JSON-LD context" in message for message in wrong):
        raise no_answer
    return wrong


def main() -> int:
    """Write and check the archive; returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            filled(folder).write(folder / "crate")
            if wrong := faults_of(folder / "crate"):
                raise InputError(f"make archive: expected a valid {PROFILE_NAME}, got: " + "; ".join(wrong))
            for path in (folder / "crate").rglob("*"):
                os.utime(path, (_DATE, _DATE))
            packed = shutil.make_archive(str(folder / "packed"), "zip", folder / "crate")
            OUTPUT.parent.mkdir(exist_ok=True)
            with whole(OUTPUT) as partial:
                shutil.move(packed, partial)
        except InputError as error:
            print(error, "Nothing was written.", sep="\n", file=sys.stderr)
            return 1
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1e6:.0f} MB, a valid {PROFILE_NAME} 0.5.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
