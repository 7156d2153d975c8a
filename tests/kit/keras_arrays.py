"""Arrays of the tests against real Keras: each drawn from a RandomState of its own, so that both sides have the same."""

import numpy as np

DISTRIBUTIONS = {  # by kind of array
    "weight": lambda rng, shape: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape),
    "bias": lambda rng, shape: rng.normal(0, 0.05, shape),
    "scale": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "shift": lambda rng, shape: rng.normal(0, 0.1, shape),
    "mean": lambda rng, shape: rng.normal(0, 0.1, shape),
    "variance": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
}


def drawn(kind: str, seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """An array of this kind in float32."""
    return DISTRIBUTIONS[kind](np.random.RandomState(seed), shape).astype(np.float32)
