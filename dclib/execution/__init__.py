"""Making runs: each is found in the records, or made from what it needs, and recorded."""

from dclib.execution.inputs import data_for, filters_of, network, priorities_of
from dclib.execution.obtaining import BusyError, found, obtain

__all__ = ["BusyError", "data_for", "filters_of", "found", "network", "obtain", "priorities_of"]
