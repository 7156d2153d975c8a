"""What the book still lacks: the runs without a record behind each table and figure, and how long they will take."""

from collections.abc import Iterable
from dataclasses import dataclass

from dclib.execution.forecast import Forecast, duration
from dclib.experiments import PROFILES, TARGETS, Run, in_paper, profile, queue
from dclib.results import Record, Store


@dataclass(frozen=True)
class Missing:
    """The runs that one target lacks.

    name: its tables and figures in the paper, or the target itself where it has none.
    runs: what is not recorded; a run that several targets need counts with the first.
    seconds: how long those of known length will take, on one job.
    unknown: how many runs nothing like them was made of.
    command: what makes them.
    """

    target: str
    name: str
    runs: tuple[Run, ...]
    seconds: float
    unknown: int
    command: str

    @property
    def expected(self) -> str:
        """How long it will take, in words."""
        known = f"about {duration(self.seconds)}" if self.seconds else ""
        several = f"{self.unknown} runs" if self.unknown > 1 else "a run"
        unknown = "" if not self.unknown else f"{several} of unknown length" if known else "unknown"
        return " and ".join(filter(None, (known, unknown)))


def missing(profile_name: str, store: Store, forecast: Forecast) -> list[Missing]:
    """What lacks runs in one profile, the most valuable first."""
    p, counted, found = profile(profile_name), set(), []
    for target in TARGETS:
        runs = tuple(run for run in queue((target,), p) if run.id not in counted and store.get(run) is None)
        counted |= {run.id for run in runs}
        if runs:
            expected = [forecast.seconds(run) for run in runs]
            names = [shown.title for shown in in_paper() if shown.runs_of == target]
            found.append(
                Missing(
                    target,
                    " and ".join(names) or target,
                    runs,
                    sum(filter(None, expected)),
                    expected.count(None),
                    f"dclib run {target} --profile {profile_name}",
                )
            )
    return found


def unasked(records: Iterable[Record]) -> list[Record]:
    """The records of runs that no profile has, with the seeds that occur: of an older version, or somebody's own."""
    records = list(records)
    left = {record.id: record for record in records}
    seeds = sorted({record.seed for record in records})
    for name in sorted(PROFILES, key=lambda name: bool(profile(name).photographs)):  # whose data have to be made come last
        for seed in seeds if left else ():
            for run in queue(TARGETS, profile(name), (seed,)):
                left.pop(run.id, None)
    return list(left.values())


def about_unasked(store: Store) -> str:
    """One sentence on the `unasked` records of a folder; empty where there are none."""
    if not (found := unasked(store.readable())):
        return ""
    names = list(dict.fromkeys(record.description["method"] for record in found))
    shown = ", ".join(names[:3]) + (", .." if len(names) > 3 else "")
    are = "s are" if len(found) > 1 else " is"
    return (
        f"{len(found)} record{are} of runs that this version does not make ({shown}); nothing shows or changes them: "
        f"keep them with dclib results export."
    )
