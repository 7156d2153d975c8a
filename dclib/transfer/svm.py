"""Linear support vector machines, one class against the rest, for all classes at once.

The objective is that of scikit-learn's `LinearSVC`: per class, half the squared length of (weights, intercept) plus
`cost` times the sum of squared hinge losses. The optimum is found by Newton's method in the span of the training rows
(O. Chapelle, "Training a support vector machine in the primal", 2007): it is exact once the set of rows inside the
margin no longer changes, which takes a handful of steps. Where features are so long, or `cost` so large, that those steps
drown in rounding, the same steps are taken by a QR decomposition, which is slower and squares no condition number.
"""

from dataclasses import dataclass

import torch

from dclib.errors import InputError

#: A class is finished when its gradient is shorter than this share of its weights. The objective is so curved that the
#: weights are then no farther than this from the optimum, relative to their length.
TOLERANCE = 1e-5
#: Up to so many rows inside the margin a direct solution is faster than conjugate gradients.
_FEW = 600
#: From this step on all solutions are direct: what is left by then is too badly conditioned for single precision.
_PATIENCE = 8
_STEPS = 100
#: An objective that no step lowers by more than this share is at its minimum, as far as double precision can tell.
_PRECISION = 1e-13


@dataclass(frozen=True)
class LinearSVM:
    """One linear classifier per class: `weights` [D, K], `intercepts` [K]; `duals` [N, K] start another fit."""

    weights: torch.Tensor
    intercepts: torch.Tensor
    duals: torch.Tensor

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """The class with the highest score, for features [M, D]: int64 [M]."""
        return (features.to(self.weights.dtype) @ self.weights + self.intercepts).argmax(1)


def fit_svm(features: torch.Tensor, labels: torch.Tensor, cost: float, start: LinearSVM | None = None) -> LinearSVM:
    """The linear SVMs of all classes; equal to ``LinearSVC(C=cost)`` at its optimum.

    Takes memory for N^2 numbers, so N may be a few tens of thousands.

    Args:
        features: float tensor [N, D], any device; the work is done there in double precision.
        labels: int64 [N], each of 0..K-1 at least once.
        cost: C, weight of the losses against the squared length of the weights.
        start: the machines for another cost on the same rows, which saves steps.

    Raises:
        InputError: shapes that do not fit, NaN or infinities, a class without rows, a cost that is not positive, features so
            large that their products overflow.
    """
    _check(features, labels, cost)
    rows = features.double()
    gram = rows @ rows.T + 1  # the intercept is the weight of a constant feature 1, as in LinearSVC
    signs = torch.full((len(labels), int(labels.max()) + 1), -1.0, dtype=torch.float64, device=rows.device)
    signs[torch.arange(len(labels), device=rows.device), labels.to(rows.device)] = 1
    duals, unsolved = _newton(gram, signs, cost, torch.zeros_like(signs) if start is None else start.duals.clone())
    weights = torch.cat([rows, torch.ones_like(rows[:, :1])], 1).T @ duals
    for k in unsolved.tolist():
        weights[:, k], duals[:, k] = _newton_by_qr(rows, signs[:, k], cost)
    return LinearSVM(weights[:-1], weights[-1], duals)


def _newton(gram: torch.Tensor, signs: torch.Tensor, cost: float, duals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Duals [N, K], so that the scores of the rows are gram @ duals, at the minimum of every class's objective.

    And the classes whose minimum rounding did not let be found.
    """
    single, scores = gram.float(), gram @ duals
    open_classes = torch.arange(signs.shape[1], device=gram.device)
    for number in range(_STEPS):
        own, score, sign = duals[:, open_classes], scores[:, open_classes], signs[:, open_classes]
        inside = sign * score < 1
        gradient = _length(gram, own - 2 * cost * torch.where(inside, sign - score, 0))
        gradient /= _length(gram, own).clamp(min=1e-300)
        left = gradient > TOLERANCE
        if not left.any():
            return duals, open_classes[:0]
        open_classes, own, score, sign, inside = (
            open_classes[left],
            own[:, left],
            score[:, left],
            sign[:, left],
            inside[:, left],
        )
        target, few = torch.empty_like(own), (inside.sum(0) <= _FEW) | (number >= _PATIENCE)
        try:
            target[:, few] = _solve_directly(gram, sign[:, few], inside[:, few], cost)
        except torch.linalg.LinAlgError:
            break
        many = ~few
        target[:, many] = _solve_iteratively(gram, single, sign[:, many], inside[:, many], cost, own[:, many])
        change = target - own
        moved = gram @ change
        step = _line_search((own * moved).sum(0), (change * moved).sum(0), score, sign, moved, cost)
        duals[:, open_classes], scores[:, open_classes] = own + step * change, score + step * moved
    return duals, open_classes


def _newton_by_qr(rows: torch.Tensor, sign: torch.Tensor, cost: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and intercept [D + 1] of one class and its duals [N], by Newton steps for the weights themselves."""
    rows, basis = torch.cat([rows, torch.ones_like(rows[:, :1])], 1), None
    if rows.shape[1] > len(rows):  # the weights lie in the span of the rows
        basis, triangle = torch.linalg.qr(rows.T)
        rows = triangle.T
    weights, score, best = rows.new_zeros(rows.shape[1]), torch.zeros_like(sign), torch.inf
    for _ in range(_STEPS):
        missing = (1 - sign * score).clamp(min=0)
        objective = (weights.square().sum() / 2 + cost * missing.square().sum()).item()
        if not objective < best * (1 - _PRECISION):
            return weights if basis is None else basis @ weights, 2 * cost * sign * missing
        best, inside = objective, missing > 0
        system = torch.cat([(2 * cost) ** 0.5 * rows[inside], torch.eye(rows.shape[1]).to(rows)])
        q, triangle = torch.linalg.qr(system)
        right = (2 * cost) ** 0.5 * (q[: int(inside.sum())].T @ sign[inside])
        change = torch.linalg.solve_triangular(triangle, right[:, None], upper=True)[:, 0] - weights
        moved = rows @ change
        step = _line_search(
            (weights * change).sum()[None], change.square().sum()[None], score[:, None], sign[:, None], moved[:, None], cost
        )
        weights = weights + step * change
        score = rows @ weights
    raise InputError(
        f"features: expected some that a cost of {cost:.3g} suits, got no optimum within {_STEPS} steps; "
        "divide them by their standard deviation, or lower the cost."
    )


def _length(gram: torch.Tensor, duals: torch.Tensor) -> torch.Tensor:
    """Length [K] of the weights that belong to `duals` [N, K]."""
    return (duals * (gram @ duals)).sum(0).clamp(min=0).sqrt()


def _solve_directly(gram: torch.Tensor, signs: torch.Tensor, inside: torch.Tensor, cost: float) -> torch.Tensor:
    """Where Newton's step leads, class by class: the optimum if just the rows `inside` had a squared loss."""
    target = torch.zeros_like(signs)
    for k in range(signs.shape[1]):
        rows = inside[:, k].nonzero().flatten()
        system = gram[rows[:, None], rows]
        system.diagonal().add_(1 / (2 * cost))
        target[rows, k] = torch.cholesky_solve(signs[rows, k, None], torch.linalg.cholesky(system))[:, 0]
    return target


def _solve_iteratively(
    gram: torch.Tensor, single: torch.Tensor, signs: torch.Tensor, inside: torch.Tensor, cost: float, duals: torch.Tensor
) -> torch.Tensor:
    """As `_solve_directly`, nearly, for all classes together: conjugate gradients in single precision.

    They start from `duals` and make what is missing a hundred times smaller. Each Newton step computes that in double
    precision again, so the solution does not suffer.
    """
    start = torch.where(inside, duals, 0)
    residual = torch.where(inside, signs - gram @ start - start / (2 * cost), 0).float()
    mask, found = inside.float(), torch.zeros_like(residual)
    direction, square = residual.clone(), residual.square().sum(0)
    enough = 1e-4 * square
    for _ in range(len(gram)):
        if (square <= enough).all():
            break
        image = mask * (single @ direction) + direction / (2 * cost)
        step = square / (direction * image).sum(0).clamp(min=1e-30)
        found += step * direction
        residual -= step * image
        before, square = square, residual.square().sum(0)
        direction = residual + square / before.clamp(min=1e-30) * direction
    return start + found


def _line_search(
    slope: torch.Tensor, curvature: torch.Tensor, scores: torch.Tensor, signs: torch.Tensor, moved: torch.Tensor, cost: float
) -> torch.Tensor:
    """The step [K] that minimises each class's objective, which is piecewise quadratic, while the scores are `moved`.

    `slope` and `curvature` [K] are those of half the squared length of the weights.
    """
    step, low, high = torch.ones_like(slope), torch.zeros_like(slope), torch.full_like(slope, torch.inf)
    for _ in range(60):
        score = scores + step * moved
        inside = signs * score < 1
        first = slope + step * curvature - 2 * cost * torch.where(inside, (signs - score) * moved, 0).sum(0)
        second = curvature + 2 * cost * torch.where(inside, moved.square(), 0).sum(0)
        low, high = torch.where(first < 0, step, low), torch.where(first > 0, step, high)
        proposal = step - first / second.clamp(min=1e-300)
        # Newton's method may run in circles here; then the interval is halved.
        astray = ((proposal <= low) | (proposal >= high)) & high.isfinite() & (first != 0)
        proposal = torch.where(astray, (low + high) / 2, proposal)
        if torch.allclose(proposal, step, rtol=0, atol=1e-9):
            break
        step = proposal
    return step


def _check(features: torch.Tensor, labels: torch.Tensor, cost: float) -> None:
    if features.ndim != 2 or 0 in features.shape or labels.shape != features.shape[:1]:
        raise InputError(f"features: expected [N, D] with labels [N], got {list(features.shape)} and {list(labels.shape)}.")
    if not torch.isfinite(features).all():
        raise InputError("features: expected finite numbers, got NaN or infinity; look at the network and its images.")
    if not torch.isfinite(features.double().square().sum()):
        raise InputError(
            "features: expected numbers whose squares are finite, got too large ones; divide them by their "
            "standard deviation."
        )
    if labels.min() < 0 or (empty := (labels.bincount() == 0).nonzero().flatten().tolist()) or labels.max() == 0:
        raise InputError(
            "labels: expected each of 0..K-1 at least once, for two classes or more, got "
            f"{'negative ones' if labels.min() < 0 else f'none of {empty[:5]}' if empty else 'one class'}."
        )
    if not 0 < cost < float("inf"):
        raise InputError(f"cost: expected a positive number, got {cost}.")
