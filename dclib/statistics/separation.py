"""How far the classes of points in a plane are apart."""

import numpy as np
import scipy


def own_neighbours(points: np.ndarray, labels: np.ndarray) -> float:
    """The share of points [N, D] whose nearest other point has the same label: 1 for separate clusters."""
    nearest = scipy.spatial.cKDTree(points).query(points, k=2)[1]
    other = np.where(nearest[:, 0] == np.arange(len(points)), nearest[:, 1], nearest[:, 0])
    return float(np.mean(labels[other] == labels))
