"""The records: one JSON file per run, written whole or not at all, checked when read.

A record holds the run's description, its outcome, its cost and the environment. Tables, figures and verdicts are
functions of records; nothing else carries a result.
"""

import base64
import hashlib
import json
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dclib import settings
from dclib.errors import InputError
from dclib.experiments import Run
from dclib.files import whole, write_whole

SCHEMA = 1
_KEYS = {"schema", "id", "description", "outcome", "cost", "environment", "checksum"}
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Record:
    """One run and what came of it.

    `outcome` depends on the description alone; `cost` (seconds, peak bytes) and `environment` (device, versions,
    commit, date) do not, so two records of one run agree when their descriptions and outcomes agree.
    """

    description: dict
    outcome: dict
    cost: dict
    environment: dict

    @property
    def id(self) -> str:
        canonical = json.dumps(self.description, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def seed(self) -> int:
        return self.description["seed"]

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Accuracy per level [levels], level 0 clean: top-1, or the mean per category where classifiers were trained."""
        return np.array(self.outcome["accuracy"]) if self.correct is None else self.correct.mean(axis=1)

    @cached_property
    def correct(self) -> np.ndarray | None:
        """Which test images are classified correctly: bool [levels, images]; None where accuracy is a mean of splits."""
        return unpack_bits(self.outcome["correct"]) if "correct" in self.outcome else None

    def to_json(self) -> str:
        body = {"schema": SCHEMA, "id": self.id, "description": self.description, "outcome": self.outcome,
                "cost": self.cost, "environment": self.environment}
        return json.dumps(body | {"checksum": _checksum(body)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "record") -> "Record":
        """Parse and check a record; `InputError` when it is truncated, altered or of another schema."""
        try:
            body = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"{name}: expected a whole JSON record, got {error}; delete it and run it again.") from error
        if not isinstance(body, dict) or body.get("schema") != SCHEMA or set(body) != _KEYS:
            got = f"schema {body.get('schema')!r}" if isinstance(body, dict) else type(body).__name__
            raise InputError(f"{name}: expected a record of schema {SCHEMA} with {', '.join(sorted(_KEYS))}, got {got}; "
                             "update dclib or run it again.")
        checksum = str(body.pop("checksum"))
        record = cls(*(body[k] for k in ("description", "outcome", "cost", "environment")))
        if checksum != _checksum(body) or record.id != body["id"]:
            raise InputError(f"{name}: expected checksum {checksum[:12]}.., got {_checksum(body)[:12]}..: the record was "
                             "altered; delete it and run it again.")
        return record


class Store:
    """A folder of records, weights and checkpoints; several processes may write to it at once."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else results_folder()

    def path(self, run: Run) -> Path:
        return self.folder / f"{run.id}.json"

    def own_weights(self, run: Run) -> Path:
        """Where the trained network of `run` is written: always in this folder."""
        return self.folder / "weights" / f"{run.id}.safetensors"

    def weights(self, run: Run) -> Path:
        """Where the trained network of `run` lies: in this folder, else among the published ones in data/weights."""
        own = self.own_weights(run)
        published = _ROOT / "data" / "weights" / own.name
        return published if published.exists() and not own.exists() else own

    def checkpoint(self, run: Run) -> Path:
        return self.folder / "checkpoints" / f"{run.id}.safetensors"

    def get(self, run: Run) -> Record | None:
        """The record of `run`, or None when it was not run yet."""
        path = self.path(run)
        try:
            record = _read(path)
        except FileNotFoundError:
            return None
        if record.id != run.id:
            raise InputError(f"{path}: expected the record of {run}, got that of run {record.id}; delete it and run it "
                             "again.")
        return record

    def put(self, record: Record) -> Path:
        """Write a record whole or not at all; the last of several writers wins."""
        path = self.folder / f"{record.id}.json"
        write_whole(path, record.to_json().encode())
        return path

    def put_weights(self, run: Run, content: bytes) -> Path:
        """Write the trained network of `run`, a safetensors file, whole or not at all."""
        path = self.own_weights(run)
        write_whole(path, content)
        return path

    def records(self) -> list[Record]:
        """All records in the folder, sorted by id; a bad one is an error."""
        return [_read(path) for path in sorted(self.folder.glob("*.json"))]

    def readable(self) -> list[Record]:
        """The records in the folder that are whole, sorted by id; for those who can do without the others."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            with suppress(InputError, FileNotFoundError):
                found.append(_read(path))
        return found

    def export(self, archive: str | Path, weights: str = "baselines") -> int:
        """Put all records into one zip file, with what another machine needs to go on; returns how many records.

        Args:
            weights: "baselines" adds the networks that other runs start from and the checkpoints of unfinished
                trainings; "all" adds every trained network; "none" adds neither.
        """
        archive = Path(archive)
        records = self.records()
        baselines = {record.id for record in records if "base" not in record.description}
        chosen = [p for folder in ("weights", "checkpoints") for p in sorted((self.folder / folder).glob("*.safetensors"))
                  if weights == "all" or (weights == "baselines" and (folder == "checkpoints" or p.stem in baselines))]
        try:
            with whole(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
                for record in records:
                    file.writestr(f"{record.id}.json", record.to_json())
                for path in chosen:
                    file.write(path, f"{path.parent.name}/{path.name}")
        except OSError as error:
            raise InputError(f"export: expected a place that can be written, got {error} for {archive}.") from error
        return len(records)

    def import_(self, archive: str | Path) -> int:
        """Bring in an exported archive. Every record is checked before the first is written."""
        try:
            with zipfile.ZipFile(archive) as file:
                if broken := file.testzip():
                    raise InputError(f"{archive}: expected a whole archive, got a damaged {broken}; export it again.")
                names = [n for n in file.namelist() if n.endswith(".json")]
                records = [Record.from_json(file.read(n).decode(), f"{archive}:{n}") for n in names]
                weights = {n: file.read(n) for n in file.namelist() if n.endswith(".safetensors")}
        except InputError:
            raise
        except Exception as error:  # a damaged archive makes zipfile raise almost anything
            raise InputError(f"{archive}: expected an archive made by dclib results export, got {error}.") from error
        for name, content in weights.items():
            folder = "checkpoints" if Path(name).parent.name == "checkpoints" else "weights"
            write_whole(self.folder / folder / Path(name).name, content)
        for record in records:
            self.put(record)
        return len(records)


def results_folder() -> Path:
    """Where records lie: the environment variable DCLIB_RESULTS, else data/results of this checkout."""
    if folder := settings.folder("DCLIB_RESULTS"):
        return folder
    if (_ROOT / "pyproject.toml").exists():
        return _ROOT / "data" / "results"
    return settings.home("DCLIB_RESULTS") / "results"


def published() -> Store:
    """The records that came with this checkout; an empty folder where there is none."""
    return Store(_ROOT / "data" / "results")


def _read(path: Path) -> Record:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable record, got {error}; delete it and run it again.") from error
    return Record.from_json(text, str(path))


def pack_bits(correct: np.ndarray) -> dict:
    """Bits of any shape, such as correctness [levels, images], as a JSON-ready, compressed value."""
    packed = zlib.compress(np.packbits(np.asarray(correct, dtype=bool), axis=None).tobytes(), 9)
    return {"shape": list(correct.shape), "zlib_base64": base64.b64encode(packed).decode()}


def unpack_bits(packed: dict) -> np.ndarray:
    """The inverse of `pack_bits`: a bool array."""
    count = int(np.prod(packed["shape"]))
    raw = np.frombuffer(zlib.decompress(base64.b64decode(packed["zlib_base64"])), dtype=np.uint8)
    return np.unpackbits(raw, count=count).astype(bool).reshape(packed["shape"])


def pack_filters(filters: np.ndarray) -> dict:
    """Filters [N, 3, k, k] as a JSON-ready value in half precision, for figures that show them."""
    half = np.asarray(filters, dtype="<f2")
    return {"shape": list(half.shape), "zlib_base64": base64.b64encode(zlib.compress(half.tobytes(), 9)).decode()}


def unpack_filters(packed: dict) -> np.ndarray:
    """The inverse of `pack_filters`: float32 [N, 3, k, k]."""
    raw = zlib.decompress(base64.b64decode(packed["zlib_base64"]))
    return np.frombuffer(raw, dtype="<f2").astype(np.float32).reshape(packed["shape"])


def _checksum(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
