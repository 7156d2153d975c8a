"""What a run has found so far, part by part: it can be stopped at any moment and goes on to the very same outcome.

A training has a checkpoint of its own (`dclib.training`) under the same name until it ends; this is for all that is found
image by image, level by level.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from dclib.errors import InputError
from dclib.experiments import Run
from dclib.files import write_whole
from dclib.tensors import UNREADABLE, checksum, read, reason
from dclib.training import OutOfTime

#: What the parts mean. Another number wherever a kind of run is cut or computed in another way.
VERSION = 1
#: Seconds between two writes: what a killed process loses at most, beside the part under way.
_BETWEEN_WRITES = 20.0

#: Called with (parts done, parts in all, a few words).
Report = Callable[[int, int, str], None]


class Parts:
    """The named parts of one run's outcome, kept in the run's checkpoint, and the clock of all its sittings.

    As a context it writes what is new when the block ends by an exception, an interrupt among them; a run that ends well
    needs no checkpoint any more. Whoever finds parts sets `total`, how many there will be, for `report`.

    Args:
        path: the checkpoint, of which a training's own counts as none.
        weights: where a trained network is kept while it is tested, and afterwards.
        deadline: `time.monotonic()` from which on the next new part is the last one.

    Raises:
        InputError: a checkpoint that is damaged, of another run or of another version.
    """

    def __init__(
        self,
        run: Run,
        path: Path,
        weights: Path | None = None,
        *,
        deadline: float | None = None,
        report: Report | None = None,
    ) -> None:
        self.run, self.path, self.weights, self.deadline, self.report = run, path, weights, deadline, report
        self.total = 0
        found = _read(self.path, run)
        self.facts, self._parts = found if found else ({"seconds": 0.0}, {})
        self._new = 0
        self._began = self._written = time.monotonic()
        self._earlier = self.facts["seconds"]

    def keep_trained(self, weights: bytes, *, seconds: float, **facts) -> None:
        """Write a trained network, then a checkpoint over the training's own: after `seconds`, with facts of the outcome."""
        write_whole(self.weights, weights)
        self._earlier, self._began = seconds, time.monotonic()
        self.facts |= facts
        self.write()

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if kind is not None and self._new:
            self.write()

    def __contains__(self, name: str) -> bool:
        return name in self._parts

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._parts[name]

    @property
    def seconds(self) -> float:
        """How long the run has taken so far, in all its sittings."""
        return self._earlier + time.monotonic() - self._began

    def timed(self, name: str, work: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What `work` gives; the seconds that it took are added to the fact called `name`."""
        began = time.monotonic()
        result = work()
        self.facts[name] = self.facts.get(name, 0.0) + time.monotonic() - began
        return result

    def find(self, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The part called `name`, made unless it is there."""
        if name not in self:
            self.keep(name, make())
        return self[name]

    def keep(self, name: str, part: torch.Tensor) -> None:
        """Add a part. Raises `OutOfTime` past the deadline, after the checkpoint was written."""
        self._parts[name] = part.detach().cpu().contiguous()
        self._new += 1
        if self.report:
            self.report(len(self._parts), self.total, "")
        now = time.monotonic()
        late = self.deadline is not None and now > self.deadline
        if late or now - self._written > _BETWEEN_WRITES:
            self.write()
        if late:
            raise OutOfTime

    def write(self) -> None:
        """Write all parts to the checkpoint, whole or not at all."""
        self.facts["seconds"] = self.seconds
        facts = json.dumps(self.facts)
        metadata = {
            "run": self.run.id,
            "version": str(VERSION),
            "facts": facts,
            "checksum": checksum(self._parts),
            "checksum of facts": _digest(facts),
        }
        write_whole(self.path, save(self._parts, metadata))
        self._new, self._written = 0, time.monotonic()


def _read(path: Path, run: Run) -> tuple[dict, dict[str, torch.Tensor]] | None:
    """The facts and parts in a checkpoint; None where there is none, or that of a training under way."""
    if not path.exists():
        return None
    try:
        parts, metadata = read(path)
        if run.kind == "train" and "progress" in metadata:
            return None
        expected = {"run": run.id, "version": str(VERSION), "checksum": checksum(parts)}
        if "checksum of facts" in metadata:  # earlier ones have none
            expected["checksum of facts"] = _digest(metadata["facts"])
        for name, value in expected.items():
            if metadata.get(name) != value:
                raise ValueError(f"{name} {metadata.get(name, 'none')[:16]} instead of {value[:16]}")
        facts = json.loads(metadata["facts"])
        if type(facts["seconds"]) not in (int, float) or not math.isfinite(facts["seconds"]):
            raise ValueError(f"seconds {str(facts['seconds'])[:16]}")
    except UNREADABLE as error:
        raise InputError(
            f"{path}: expected a checkpoint of {run}, got another or a damaged one ({reason(error)}); delete "
            "the file to start the run anew."
        ) from error
    return facts, dict(parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
