"""What is mutated and how it is read: records, archives, checkpoints, networks, and the files that the study is set up by."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from benchmarks.mutations import (
    Mutation,
    blind,
    forged_archive,
    forged_json,
    forged_record,
    forged_safetensors,
)
from dclib import correction, paper
from dclib.datasets.cache import decoded
from dclib.errors import InputError
from dclib.execution import network
from dclib.execution.checkpoint import Parts
from dclib.experiments import Run
from dclib.models import AllConvNet
from dclib.results import Store, published
from dclib.tensors import sealed
from dclib.training import Schedule
from dclib.training.checkpoint import Progress, resume, save_checkpoint
from dclib.training.step import optimiser_for

SCHEDULE = Schedule(4, 2, 0.1, (), 2)
RUN = Run("train", "Baseline", "photographs", "f" * 64, 10, 2, 0, schedule=SCHEDULE)
EVALUATED = Run("evaluate", "Baseline", "photographs", "f" * 64, 10, 2, 0, "blur", (1.0,), base=RUN)
#: What one file may take: seconds, and bytes beyond those that the process has.
SECONDS, BYTES = 20, 2**30


@dataclass
class Subject:
    """A kind of file: those that are whole, and how one is mutated and read. `read` gives what it says as bytes."""

    name: str
    folder: Path
    originals: list[bytes]
    forge: Mutation
    read: object
    found: Counter = field(default_factory=Counter)
    faults: list[dict] = field(default_factory=list)
    longest: float = 0.0


def net() -> AllConvNet:
    torch.manual_seed(0)
    return AllConvNet(10, 2)


def digest(tensors: dict[str, torch.Tensor]) -> bytes:
    return b"".join(
        name.encode() + hashlib.sha256(t.detach().contiguous().numpy().tobytes()).digest()
        for name, t in sorted(tensors.items())
    )


def records(folder: Path) -> Subject:
    tested = [record for record in published().records() if isinstance(record.outcome.get("accuracy"), list)]
    originals = sorted((record.to_json().encode() for record in tested), key=len)[:4]

    def read(content: bytes) -> bytes:
        (folder / "a.json").write_bytes(content)
        [record] = Store(folder).records()
        return repr(
            (
                record.description,
                record.outcome,
                record.cost,
                record.environment,
                record.seed,
                record.accuracy.sum(),
                record.hits is not None and record.hits.sum(),
            )
        ).encode()

    return Subject("records", folder, originals, forged_record, read)


def archives(folder: Path) -> Subject:
    source, store = Store(folder / "source"), Store(folder / "inside" / "results")
    for record in sorted(published().records(), key=lambda r: len(r.to_json()))[:3]:
        source.put(record)
    source.put_weights(RUN, save(net().state_dict(), sealed(net().state_dict())))
    source.export(folder / "a.zip", weights="all")
    original = (folder / "a.zip").read_bytes()

    def read(content: bytes) -> bytes:
        shutil.rmtree(folder)
        (folder / "inside").mkdir(parents=True)
        (folder / "a.zip").write_bytes(content)
        try:
            store.import_(folder / "a.zip")
        except InputError:
            if any(store.folder.rglob("*")):
                raise RuntimeError("a refused archive left something behind") from None
            raise
        finally:
            outside = [p for p in folder.rglob("*") if p.is_file() and store.folder not in p.parents and p.name != "a.zip"]
            if outside:
                raise RuntimeError(f"written outside of the store: {outside}")
        kept = sorted(p for p in store.folder.rglob("*") if p.is_file())
        store.records()
        return b"".join(p.name.encode() + p.read_bytes() for p in kept)

    return Subject("archives", folder, [original], forged_archive, read)


def checkpoints(folder: Path) -> Subject:
    """Of a training, and of what is found part by part."""
    path = folder / "c.safetensors"
    model = net()
    optimiser = optimiser_for(model, SCHEDULE)
    for parameter in model.parameters():
        optimiser.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    progress = Progress(2, 2, 0.5, 1.0, [{"iteration": 2, "loss": 1.5, "validation": [0.5]}])
    save_checkpoint(path, model, optimiser, progress, model.state_dict(), [torch.tensor(1.0)])
    training = path.read_bytes()
    parts = Parts(EVALUATED, path.with_name("p.safetensors"))
    parts.keep("level 0 from 0", torch.ones(20, dtype=torch.bool))
    parts.write()

    def read(content: bytes) -> bytes:
        path.write_bytes(content)
        if b'"run"' in content[:3000]:
            parts = Parts(EVALUATED, path)
            return digest({"part": parts["level 0 from 0"].byte()}) if "level 0 from 0" in parts else b""
        fresh = net()
        again = optimiser_for(fresh, SCHEDULE)
        found, best, losses = resume(path, fresh, again)
        step = found.iteration + 1, found.best_iteration + 1, found.best_accuracy + 1.0, found.seconds + 1.0
        return digest(fresh.state_dict()) + digest(best) + repr((step, found.curve, [float(x) for x in losses])).encode()

    return Subject("checkpoints", folder, [training, (folder / "p.safetensors").read_bytes()], forged_safetensors, read)


def networks(folder: Path) -> Subject:
    """Weights of a run, and corrected networks."""
    path, store = folder / "n.safetensors", Store(folder)
    base = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten()).eval()
    design = correction.UnitDesign(3, (1, 3), input_batchnorm=True)
    correction.save(correction.correct(base, {"0": [1, 4], "3": [0]}, design), path)
    # As a training writes them.
    with Parts(RUN, store.checkpoint(RUN), store.own_weights(RUN)) as parts:
        state = net().state_dict()
        parts.keep_trained(save(state, sealed(state)), seconds=1.0, curve=[], best_iteration=0)

    def read(content: bytes) -> bytes:
        if b'"correction"' in content[:4000]:
            path.write_bytes(content)
            return digest(correction.load(base, path).state_dict())
        store.own_weights(RUN).write_bytes(content)
        return digest(network(RUN, store).state_dict())

    return Subject("networks", folder, [path.read_bytes(), store.own_weights(RUN).read_bytes()], forged_safetensors, read)


def settings(folder: Path) -> Subject:
    """The paper's numbers, and the header of decoded images, which are decoded again where it is damaged."""
    shutil.copytree(paper.FOLDER, folder / "paper")
    table = (folder / "paper" / "table03.json").read_bytes()
    images, cache = folder / "images", folder / "cache"
    images.mkdir()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(images / "a.png")
    os.environ["DCLIB_CACHE"] = str(cache)
    expected = decoded("d", images, ["a.png"])
    [header] = cache.glob("*.json")

    def read(content: bytes) -> bytes:
        if b"fingerprint" not in content and b"checksum" not in content:
            paper.FOLDER = folder / "paper"
            (folder / "paper" / "table03.json").write_bytes(content)
            return json.dumps([paper.row(3, "Deepcorr-1"), paper.table(3)["sigma"]]).encode()
        header.write_bytes(content)
        if not torch.equal(decoded("d", images, ["a.png"]).images, expected.images):
            raise RuntimeError("other images")
        return b"images"

    return Subject("settings", folder, [table, header.read_bytes()], forged_json, read)


SUBJECTS = {s.__name__: s for s in (records, archives, checkpoints, networks, settings)}


def run(name: str, folder: Path, count: int, seed: int = 0) -> dict:
    """Read `count` mutated files of a kind; counts of what came of them, and every fault with the number that makes it again."""
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    subject = SUBJECTS[name](folder)
    expected = [subject.read(original) for original in subject.originals]
    before = _memory()
    resource.setrlimit(resource.RLIMIT_AS, (before + BYTES,) * 2)
    signal.signal(signal.SIGALRM, _too_long)
    for number in range(count):
        rng = random.Random(f"{seed} {name} {number}")
        which = rng.randrange(len(subject.originals))
        forged = bool(number % 2)
        content = (subject.forge if forged else blind)(subject.originals[which], rng)
        _try(subject, content, expected[which], forged, number)
    return {
        "name": name,
        "files": count,
        "seconds_of_the_slowest": round(subject.longest, 3),
        **subject.found,
        "faults": subject.faults[:50],
    }


def _try(subject: Subject, content: bytes, expected: bytes, forged: bool, number: int) -> None:
    began = time.monotonic()
    signal.alarm(SECONDS)
    try:
        said = subject.read(content)
        what = "read as it was" if said == expected else "another file that fits together" if forged else "fault"
        problem = "damage was not noticed"
    except InputError as error:
        text = str(error)
        good = "expected" in text.lower() and "\n" not in text and len(text) <= 600 and text.endswith(".")
        what, problem = ("refused in one sentence" if good else "fault"), f"no sentence: {text[:300]}"
    except BaseException as error:  # whatever it is, it is a fault
        place = traceback.extract_tb(error.__traceback__)[-1]
        what, problem = "fault", f"{type(error).__name__}: {str(error)[:200]} in {Path(place.filename).name}:{place.lineno}"
    finally:
        signal.alarm(0)
    subject.longest = max(subject.longest, time.monotonic() - began)
    subject.found[what] += 1
    if what == "fault":
        places = [line.strip() for line in problem.splitlines()]
        subject.faults.append({"number": number, "forged": forged, "problem": " ".join(places)[:600]})


def _memory() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _too_long(*_) -> None:
    raise TimeoutError(f"longer than {SECONDS} s")
