"""Correction priority (Section 4.1, Eq. 1) and the selection of filters by it."""

import numpy as np

from dclib.errors import InputError

SCORES = ("priority", "relative_error")


def correction_priority(swap_accuracy: np.ndarray, baseline_accuracy: np.ndarray, *, score: str = "priority") -> np.ndarray:
    """One score per filter, higher for more susceptible ones.

    Args:
        swap_accuracy: accuracy after each swap, [filters, levels].
        baseline_accuracy: accuracy without a swap, [levels].
        score: "priority" is Eq. 1, the gain in accuracy averaged over levels. "relative_error" is what the
            released code computes: ``|swapped error - baseline error| / baseline error``, averaged over levels, so
            that a filter whose swap hurts counts as susceptible too. A level without errors adds nothing to it.

    Returns:
        float64 array [filters].
    """
    swapped, before = (np.asarray(a, dtype=np.float64) for a in (swap_accuracy, baseline_accuracy))
    if swapped.ndim != 2 or before.shape != swapped.shape[1:] or not before.size:
        raise InputError(
            f"correction_priority: expected accuracies [filters, levels] and [levels], got "
            f"{list(swapped.shape)} and {list(before.shape)}."
        )
    for values in (swapped, before):
        if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
            raise InputError(
                "correction_priority: expected accuracies in 0..1, got values outside or NaN; divide percentages by 100."
            )
    if score == "priority":
        return (swapped - before).mean(axis=1)
    if score == "relative_error":
        error = 1 - before
        change = np.abs(before - swapped)
        return np.divide(change, error, out=np.zeros_like(change), where=error > 0).mean(axis=1)
    raise InputError(f"score: expected one of {', '.join(SCORES)}, got {score!r}.")


def select_local(priorities: dict[str, np.ndarray], fractions: float | dict[str, float]) -> dict[str, np.ndarray]:
    """The most susceptible filters of each layer, ranked within the layer (beta_i N_i of Section 4.2).

    Args:
        priorities: {layer: scores [filters]}.
        fractions: beta in 0..1 per layer, or one for all; the count is rounded to the nearest filter.

    Returns:
        {layer: filter indices, most susceptible first}. Ties go to the lower index.

    >>> import numpy as np
    >>> from dclib import select_local
    >>> chosen = select_local({"conv1": np.array([0.1, 0.4, 0.2, 0.3]), "conv2": np.array([0.9, 0.8])}, fractions=0.5)
    >>> {layer: filters.tolist() for layer, filters in chosen.items()}
    {'conv1': [1, 3], 'conv2': [0]}
    """
    _check_priorities(priorities)
    per_layer = fractions if isinstance(fractions, dict) else dict.fromkeys(priorities, fractions)
    if set(per_layer) != set(priorities):
        raise InputError(f"fractions: expected one per layer ({', '.join(priorities)}), got {', '.join(per_layer)}.")
    if bad := [f for f in per_layer.values() if not 0 <= f <= 1]:
        raise InputError(f"fractions: expected values in 0..1, got {bad[0]}; divide percentages by 100.")
    return {
        layer: _descending(np.asarray(scores))[: round(per_layer[layer] * len(scores))]
        for layer, scores in priorities.items()
    }


def select_global(priorities: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The `count` most susceptible filters of all layers together (Tables 5 and 9).

    Returns {layer: filter indices, most susceptible first}, with an empty array for a layer that has none among
    them. Ties go to the earlier layer, then to the lower index.

    >>> import numpy as np
    >>> from dclib import select_global
    >>> chosen = select_global({"conv1": np.array([0.1, 0.4, 0.2, 0.3]), "conv2": np.array([0.9, 0.8])}, count=3)
    >>> {layer: filters.tolist() for layer, filters in chosen.items()}
    {'conv1': [1], 'conv2': [0, 1]}
    """
    _check_priorities(priorities)
    total = sum(len(scores) for scores in priorities.values())
    if count != int(count) or not 0 <= count <= total:
        raise InputError(f"count: expected a whole number in 0..{total}, got {count}.")
    order = _descending(np.concatenate([np.asarray(scores) for scores in priorities.values()]))[: int(count)]
    chosen, start = {}, 0
    for layer, scores in priorities.items():
        inside = (order >= start) & (order < start + len(scores))
        chosen[layer] = order[inside] - start
        start += len(scores)
    return chosen


def _descending(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores.astype(np.float64), kind="stable")


def _check_priorities(priorities: dict[str, np.ndarray]) -> None:
    if not priorities:
        raise InputError("priorities: expected scores of at least one layer, got none.")
    for layer, scores in priorities.items():
        values = np.asarray(scores)
        if values.ndim != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise InputError(
                f"priorities of {layer!r}: expected finite scores [filters], got {values.dtype} {list(values.shape)}."
            )
