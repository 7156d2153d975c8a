"""The records: one JSON file per run, written whole or not at all, checked when read.

A record holds the run's description, its outcome, its cost and the environment. Tables, figures and verdicts are
functions of records; nothing else carries a result.
"""

import base64
import hashlib
import json
import math
import re
import shutil
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dclib.errors import InputError
from dclib.experiments import Run
from dclib.files import default_folder, named_folder, whole, write_whole

SCHEMA = 1
_KEYS = {"schema", "id", "description", "outcome", "cost", "environment", "checksum"}
#: What a record, all records of an archive, and an array packed into a record may take: many times what any run needs.
_RECORD, _RECORDS, _ARRAY = 2**26, 2**30, 2**28
#: A member of an archive that grows by more than this while it is unpacked, and is large, is no record and no weights.
_GROWTH, _LARGE = 100, 2**24
#: A member of every archive: {name: checksum} of the others. The directory at a zip file's end can lose members unnoticed.
CONTENTS = "contents.json"
_WEIGHTS = re.compile(r"[0-9a-f]{16}\.safetensors")
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
        if self.hits is not None:
            return self.hits.mean(axis=1)
        found = self.outcome.get("accuracy")
        if not isinstance(found, list) or not all(type(value) in (int, float) and 0 <= value <= 1 for value in found):
            raise InputError(
                f"record {self.id}: expected an accuracy in 0..1 for each level, got {str(found)[:60]}; run it again."
            )
        return np.array(found)

    @cached_property
    def hits(self) -> np.ndarray | None:
        """Which test images are classified correctly: bool [levels, images]; None where accuracy is a mean of splits."""
        if "correct" not in self.outcome:
            return None
        bits = unpack_bits(self.outcome["correct"])
        if bits.ndim != 2 or not bits.size:
            raise InputError(
                f"record {self.id}: expected which images are right [levels, images], got {list(bits.shape)}; run it again."
            )
        return bits

    def to_json(self) -> str:
        body = {
            "schema": SCHEMA,
            "id": self.id,
            "description": self.description,
            "outcome": self.outcome,
            "cost": self.cost,
            "environment": self.environment,
        }
        return json.dumps(body | {"checksum": _checksum(body)}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "record") -> "Record":
        """Parse and check a record; `InputError` when it is truncated, altered or of another schema."""
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:  # also a number of thousands of digits
            raise InputError(f"{name}: expected a whole JSON record, got {error}; delete it and run it again.") from error
        if not isinstance(body, dict) or body.get("schema") != SCHEMA or set(body) != _KEYS:
            got = f"schema {body.get('schema')!r}" if isinstance(body, dict) else type(body).__name__
            raise InputError(
                f"{name}: expected a record of schema {SCHEMA} with {', '.join(sorted(_KEYS))}, got {got}; "
                "update dclib or run it again."
            )
        parts = [body[key] for key in ("description", "outcome", "cost", "environment")]
        if not all(isinstance(part, dict) for part in parts) or type(parts[0].get("seed")) is not int:
            raise InputError(
                f"{name}: expected a description with its seed, an outcome, a cost and an environment, got "
                "others; delete it and run it again."
            )
        checksum = str(body.pop("checksum"))
        record = cls(*parts)
        if checksum != _checksum(body) or record.id != body["id"]:
            raise InputError(
                f"{name}: expected checksum {checksum[:12]}.., got {_checksum(body)[:12]}..: the record was "
                "altered; delete it and run it again."
            )
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
        """Where the trained network of `run` lies: in this folder, else among the published ones in a checkout's data/weights."""
        own = self.own_weights(run)
        places = (own, self.folder.parent / "weights" / own.name, _ROOT / "data" / "weights" / own.name)
        return next((place for place in places if place.exists()), own)

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
            raise InputError(
                f"{path}: expected the record of {run}, got that of run {record.id}; delete it and run it again."
            )
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
        chosen = [
            p
            for folder in ("weights", "checkpoints")
            for p in sorted((self.folder / folder).glob("*.safetensors"))
            if weights == "all" or (weights == "baselines" and (folder == "checkpoints" or p.stem in baselines))
        ]
        try:
            with whole(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
                for record in records:
                    file.writestr(f"{record.id}.json", record.to_json())
                for path in chosen:
                    file.write(path, f"{path.parent.name}/{path.name}")
                file.writestr(CONTENTS, json.dumps({member.filename: member.CRC for member in file.infolist()}))
        except OSError as error:
            raise InputError(f"export: expected a place that can be written, got {error} for {archive}.") from error
        return len(records)

    def import_(self, archive: str | Path) -> int:
        """Bring in an exported archive, all that was put into it. Every record is checked before the first is written.

        Other files than records, networks and checkpoints are left out, whatever they are called.
        """
        try:
            with zipfile.ZipFile(archive) as file:
                self._check_sizes(file, archive)
                _check_whole(file, archive)
                names = [n for n in file.namelist() if n.endswith(".json") and n != CONTENTS]
                records = [Record.from_json(file.read(n).decode(), f"{archive}:{n[:40]}") for n in names]
                for name in file.namelist():
                    if _WEIGHTS.fullmatch(Path(name).name):
                        folder = "checkpoints" if Path(name).parent.name == "checkpoints" else "weights"
                        write_whole(self.folder / folder / Path(name).name, file.read(name))
        except InputError:
            raise
        except Exception as error:  # a damaged archive makes zipfile raise almost anything
            raise InputError(
                f"{archive}: expected an archive made by dclib results export, got {str(error)[:200]}."
            ) from error
        for record in records:
            self.put(record)
        return len(records)

    def _check_sizes(self, file: zipfile.ZipFile, archive: str | Path) -> None:
        """`InputError`, before anything is unpacked, for an archive whose contents are made to fill memory or the disk."""
        members = file.infolist()
        records = [m.file_size for m in members if m.filename.endswith(".json")]
        grown = any(m.file_size > max(_LARGE, _GROWTH * m.compress_size) for m in members)
        unusual = any(m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for m in members)
        room = shutil.disk_usage(next(p for p in self.folder.absolute().parents if p.exists())).free
        total = sum(m.file_size for m in members)
        if grown or unusual or max(records, default=0) > _RECORD or sum(records) > _RECORDS or total > room:
            raise InputError(
                f"{archive}: expected records and weights that fit on this disk, got {total / 1e6:.0f} MB in "
                f"{len(members)} files, packed as dclib packs none or too large to unpack."
            )


def _check_whole(file: zipfile.ZipFile, archive: str | Path) -> None:
    """`InputError` for an archive of which a member is damaged or gone."""
    if broken := file.testzip():
        raise InputError(f"{archive}: expected a whole archive, got a damaged {broken}; export it again.")
    there = {member.filename: member.CRC for member in file.infolist()}
    if CONTENTS not in there:
        raise InputError(f"{archive}: expected a list of its contents as dclib packs it, got none; export it again.")
    listed = json.loads(file.read(CONTENTS))
    if lost := [name for name, checksum in listed.items() if there.get(name) != checksum]:
        raise InputError(
            f"{archive}: expected all {len(listed)} files that it lists, got no whole {lost[0][:40]!r}; export it again."
        )


def results_folder() -> Path:
    """Where records lie: the environment variable DCLIB_RESULTS, else data/results of this checkout."""
    if folder := named_folder("DCLIB_RESULTS"):
        return folder
    if (_ROOT / "pyproject.toml").exists():
        return _ROOT / "data" / "results"
    return default_folder("DCLIB_RESULTS") / "results"


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


def pack_bits(hits: np.ndarray) -> dict:
    """Bits of any shape, such as correctness [levels, images], as a JSON-ready, compressed value."""
    packed = zlib.compress(np.packbits(np.asarray(hits, dtype=bool), axis=None).tobytes(), 9)
    return {"shape": list(hits.shape), "zlib_base64": base64.b64encode(packed).decode()}


def unpack_bits(packed: dict) -> np.ndarray:
    """The inverse of `pack_bits`: a bool array."""
    shape, raw = _unpacked(packed, 1)
    return np.unpackbits(np.frombuffer(raw, dtype=np.uint8), count=math.prod(shape)).astype(bool).reshape(shape)


def pack_filters(filters: np.ndarray) -> dict:
    """Filters [N, 3, k, k] as a JSON-ready value in half precision, for figures that show them."""
    half = np.asarray(filters, dtype="<f2")
    return {"shape": list(half.shape), "zlib_base64": base64.b64encode(zlib.compress(half.tobytes(), 9)).decode()}


def unpack_filters(packed: dict) -> np.ndarray:
    """The inverse of `pack_filters`: float32 [N, 3, k, k]."""
    shape, raw = _unpacked(packed, 16)
    return np.frombuffer(raw, dtype="<f2").astype(np.float32).reshape(shape)


def _unpacked(packed: dict, bits: int) -> tuple[tuple[int, ...], bytes]:
    """Shape and bytes of a packed array with so many bits a value: never more of them than the shape asks for."""
    try:
        shape = tuple(packed["shape"])
        if len(shape) > 8 or not all(type(length) is int and length >= 0 for length in shape):
            raise ValueError(f"shape {str(shape)[:60]}")
        size = -(-math.prod(shape) * bits // 8)
        if size > _ARRAY:
            raise ValueError(f"{size} bytes")
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(base64.b64decode(packed["zlib_base64"]), size + 1)
        if len(raw) != size or not (unpacker.eof or unpacker.decompress(unpacker.unconsumed_tail, 1) == b""):
            raise ValueError("more or fewer bytes")
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise InputError(
            f"record: expected an array packed with its shape, got {str(error)[:100]}; run it again."
        ) from error
    return shape, raw


def _checksum(body: dict) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
