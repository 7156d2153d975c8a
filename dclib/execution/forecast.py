"""What runs will take, in seconds and bytes, from the costs of records of like runs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from dclib.execution.environment import device_name, is_graphics_card
from dclib.experiments import Run
from dclib.results import Record

#: Bytes of a run of which nothing like it has a record: for the network, and for each of its channels and images at once.
_BYTES = {"AllConvNet": (1.5e9, 1.2e5), "AlexNet": (7e9, 0.0), "EfficientNet-Lite0": (3e9, 0.0), "ResNet-8": (1.5e9, 1.2e5)}


class Forecast:
    """What is known of the cost of runs.

    A like run is of the same kind, network, width and data set, and of the same method; where there is none, of the same
    family: any corrected network stands for another, and so on. Time grows with the work: iterations times images of a
    training, images times levels of all else. Records of this device count, and where there are none those of others of its
    kind: what a graphics card took says nothing of a processor.

    Args:
        records: whose costs are known.
        device: what runs are to be made on.
    """

    def __init__(self, records: Iterable[Record], device: str = "cpu") -> None:
        here = device_name(device)
        records = [record for record in records if record.cost.get("seconds")]
        alike = [r for r in records if is_graphics_card(r.environment.get("device", "")) == is_graphics_card(here)]
        own = [record for record in alike if record.environment.get("device") == here]
        self._pace = self._paces(alike) | self._paces(own)
        self._peaks: dict[tuple, dict[str, float]] = defaultdict(dict)
        for record in own:
            if peak := record.cost.get("peak_bytes"):
                of_method = self._peaks[_likeness(record.description, _family)]
                method = record.description["method"]
                # What a process held at its most may be that of an earlier run: the least of them is the closest bound.
                of_method[method] = min(peak, of_method.get(method, peak))

    @staticmethod
    def _paces(records: Sequence[Record]) -> dict[tuple, float]:
        """Seconds for a unit of work, by likeness."""
        found = defaultdict(list)
        for record in records:
            for same in (_method, _family):
                found[_likeness(record.description, same)].append(record.cost["seconds"] / _work(record.description))
        return {likeness: median(paces) for likeness, paces in found.items()}

    def seconds(self, run: Run) -> float | None:
        """How long `run` will take; None where nothing like it was made."""
        for same in (_method, _family):
            if (pace := self._pace.get(_likeness(run.description, same))) is not None:
                return pace * _work(run.description)
        return None

    def bytes(self, run: Run) -> float:
        """The most memory that `run` will need, with the process that makes it; a guess where nothing like it was made."""
        known = self._peaks.get(_likeness(run.description, _family), {})
        if run.method in known:
            return known[run.method]
        if known:
            return max(known.values())
        base, each = _BYTES[run.network]
        return base + each * run.width * (run.schedule.batch_size if run.schedule else 500)


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3 h 20 min" or "2 d 5 h"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _likeness(description: dict, same: Callable[[dict], str]) -> tuple:
    alike = (description.get(name) for name in ("kind", "network", "dataset", "width", "restoration"))
    return (*alike, "test_images" in description, same.__name__, same(description))


def _method(description: dict) -> str:
    return description["method"]


def _family(description: dict) -> str:
    if description["kind"] != "train":
        return ""
    return "corrected" if "selection" in description else "from a network" if "base" in description else "from scratch"


def _work(description: dict) -> float:
    """What the time of a run grows with, in units that are the same for like runs."""
    if "schedule" in description:
        return description["schedule"]["iterations"] * description["schedule"]["batch_size"]
    images = description.get("ranking_images") or description.get("test_images") or 1
    return images * (1 + len(description.get("sigmas", description.get("conditions", ()))))
