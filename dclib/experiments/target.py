"""A table or figure as one object: all that is known of it before anything is run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from dclib import paper
from dclib.experiments.profiles import ImageNetHalf, Profile
from dclib.experiments.run import Run
from dclib.experiments.stand_ins import StandIn

Rows = dict[str, list[Run]]


@dataclass(frozen=True)
class Target:
    """One table or figure of the paper, or one study of our own beside them.

    Args:
        name: in commands, such as "table3".
        page: the notebook that shows it.
        table, figure: its number in the paper; both None for a study of our own.
        half: whose networks it needs, "cifar100" or "imagenet", or "efficientnet" for a published one; "neighbours" for what
            other works than the paper did, whatever the network.
        rows: from a `Profile` (its `ImageNetHalf` for the second and third), seeds and, where the target has one, its distortion to
            {label: one run per seed}, labels as `verdicts` asks for them. None where it needs no run of its own.
        shares: the target whose runs stand behind it where they are not its own.
        distortion: the one that all rows are under; None where rows differ or have none.
        levels: the data set whose levels its columns are; empty where a row is one number.
        labels: what the words of a row's label name in the paper's table ("method", "dataset", "distortion"); empty
            where the paper has no such row.
        dataset: which of the paper's rows are meant, where a table has several data sets.
        differs: from the profile or its half to what its runs stand in for.
        rivals: what the rows of methods that are no networks add to that, as one more line of a caption.
        stage: when it is made, 0 first; see `targets.queue`.
        first_seed: it compares choices or draws, not trainings, and is made with the first seed alone.
        spread: whose rows say together by how much an accuracy moves from one training to the next.
    """

    name: str
    page: str
    table: int | None = None
    figure: int | None = None
    half: str = "cifar100"
    rows: Callable[..., Rows] | None = None
    shares: str = ""
    distortion: str | None = None
    levels: str = ""
    labels: tuple[str, ...] = ()
    dataset: str | None = None
    differs: Callable[[Profile | ImageNetHalf], tuple[StandIn, ...]] = attrgetter("stand_in")
    rivals: Callable[[Profile | ImageNetHalf], tuple[StandIn, ...]] = lambda half: ()
    stage: int = 0
    first_seed: bool = False
    spread: str = ""

    @property
    def title(self) -> str:
        """Its name in the paper, such as "Table 3"; its own name where it is not in the paper."""
        if self.table is not None:
            return f"Table {self.table}"
        return self.name if self.figure is None else f"Figure {self.figure}"

    @property
    def runs_of(self) -> str:
        """The name of the target whose runs stand behind this one; empty where none is needed."""
        return self.name if self.rows else self.shares

    def make_rows(self, half: Profile | ImageNetHalf, seeds: tuple[int, ...]) -> Rows:
        """Its rows: {label: one run per seed}."""
        seeds = seeds[:1] if self.first_seed else seeds
        return self.rows(half, seeds, *([self.distortion] if self.distortion else []))

    def printed(self, label: str) -> Mapping | None:
        """The paper's row for a row of ours by its label; None where it has none. ValueError where it has several."""
        if not self.labels:
            return None
        named = dict(zip(self.labels, label.split(), strict=True))
        return paper.row(self.table, named.pop("method"), **({"dataset": self.dataset} | named))
