"""Records and verdicts beside the paper's numbers, as DataFrames and as styled tables. Only means are computed here."""

from dclib.tables import neighbours
from dclib.tables.accuracy import (
    NOT_RUN,
    TABLES,
    Row,
    beside,
    collect,
    dress,
    of_records,
    printed_average,
    styled,
)
from dclib.tables.claims import SIGNS, signed, styled_verdicts, verdict_frame
from dclib.tables.sources import published_profile, shown_records, source_line, source_lines

__all__ = [
    "NOT_RUN",
    "SIGNS",
    "TABLES",
    "Row",
    "beside",
    "collect",
    "dress",
    "neighbours",
    "of_records",
    "printed_average",
    "published_profile",
    "shown_records",
    "signed",
    "source_line",
    "source_lines",
    "styled",
    "styled_verdicts",
    "verdict_frame",
]
