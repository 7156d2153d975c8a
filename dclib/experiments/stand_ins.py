"""What stands in for something of the paper, as cells and captions say it."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class StandIn:
    """What stands in for something of the paper: `short` fits a table's cell, and `detail` goes on from there in a caption."""

    short: str
    detail: str = ""

    def __str__(self) -> str:
        return self.short + self.detail


def in_words(stand_ins: Iterable[StandIn]) -> str:
    """All of them in full, each once; empty where there is none."""
    return "; ".join(dict.fromkeys(map(str, stand_ins)))
