"""Filters chosen by joint swaps beside the ranking of Eq. 1, as a DataFrame and in words for a page."""

import numpy as np
import pandas as pd

from dclib.experiments import CONV, FRACTIONS, profile, rows
from dclib.figures.words import NAMES
from dclib.results import Record, Store
from dclib.statistics import bootstrap_interval
from dclib.tables.accuracy import NOT_RUN
from dclib.verdicts.finding import Estimate
from dclib.verdicts.joint import Orders, orders

_SHOWN = (0.25, 0.5, 0.75)
TARGET = "joint"


def recorded(profile_name: str, store: Store) -> dict[str, Record]:
    """{label: record} of what has been run."""
    return {
        label: record
        for label, runs in rows(TARGET, profile(profile_name)).items()
        for run in runs[:1]
        if (record := store.get(run))
    }


def frame(profile_name: str, store: Store) -> pd.DataFrame:
    """A line per layer and distortion, and per Deepcorr-1 on the filters of either choice; what has no record says so.

    Per share of filters: how many both orders have, and by how much the joint order leads in accuracy, averaged over levels,
    with its 95 % interval over images; then what becomes of the paper's explanation of the jump. For Deepcorr-1, which has
    half of the filters, the mean accuracy on test images, and the lead of the filters chosen jointly.
    """
    found, lines = recorded(profile_name, store), {}
    columns = [*(f"{what} at {share:.0%}" for share in _SHOWN for what in ("shared", "lead")), "from 50 to 75 %", "accuracy"]
    for label in rows(TARGET, profile(profile_name)):
        if label not in found:
            lines[label] = {columns[0]: NOT_RUN}
        else:
            lines[label] = _trained(label, found) if label.startswith("Deepcorr") else _line(orders(found[label]))
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns).fillna("–").rename_axis("row")


def _line(found: Orders) -> dict[str, str]:
    cells = {"from 50 to 75 %": found.explanation}
    for share in _SHOWN:
        at = FRACTIONS.index(share)
        cells |= {
            f"shared at {share:.0%}": f"{found.shared[at]} of {found.counts[at]}",
            f"lead at {share:.0%}": _signed(found.lead[at]),
        }
    return cells


def _trained(label: str, found: dict[str, Record]) -> dict[str, str]:
    """Deepcorr-1 on one choice; on the joint one also its lead over the other."""
    cells, other = {"accuracy": f"{found[label].accuracy.mean():.4f}"}, found.get(label.replace("joint", "ranked"))
    if " joint " in label and other is not None:
        lead = bootstrap_interval(found[label].hits, other.hits)
        cells["lead at 50%"] = _signed(Estimate(lead.estimate, lead.low, lead.high))
    return cells


def _signed(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def words(record: Record) -> str:
    """One record in a few sentences: agreement, lead, and the jump from 50 to 75 %."""
    found = orders(record)
    half, late, quarter = (FRACTIONS.index(share) for share in (0.5, 0.75, 0.25))
    rise, before = (np.mean(found.single[a]) - np.mean(found.single[b]) for a, b in ((late, half), (half, quarter)))
    chance = found.counts[half] ** 2 / found.filters
    return (
        f"Under {NAMES[found.distortion]}, in {found.layer}: of {found.counts[half]} filters, half of the layer, both choices "
        f"have {found.shared[half]}; two random halves would share {chance:.0f}. Chosen on {found.images} images and tried on "
        f"{found.tried_on} others, the joint choice leads by {_signed(found.lead[half])} at one half. By the ranking the "
        f"accuracy changes by {before:+.3f} from 25 to 50 % and by {rise:+.3f} from 50 to 75 %: {found.explanation}."
    )


def trained_words(found: dict[str, Record]) -> list[str]:
    """What Deepcorr-1 reaches on either choice of half of conv1, a sentence for each distortion that has both records."""
    said = []
    for distortion, name in NAMES.items():
        pair = [found.get(f"Deepcorr-1 {order} {distortion}") for order in ("joint", "ranked")]
        if all(pair):
            joint, ranked = (record.accuracy.mean() for record in pair)
            lead = bootstrap_interval(*(record.hits for record in pair))
            said.append(
                f"Under {name}, Deepcorr-1 on the filters chosen jointly reaches {joint:.4f} on average over clean images "
                f"and all levels, on those of the ranking {ranked:.4f}: a lead of "
                f"{_signed(Estimate(lead.estimate, lead.low, lead.high))} over test images, of one training each."
            )
    return said


def layers_recorded(profile_name: str, store: Store) -> dict[str, list[Orders]]:
    """{distortion: the orders of each layer that was run}, conv1 first."""
    there = [orders(record) for record in recorded(profile_name, store).values() if record.description["kind"] == "select"]
    return {
        d: sorted((o for o in there if o.distortion == d), key=lambda o: CONV.index(o.layer))
        for d in dict.fromkeys(o.distortion for o in there)
    }
