"""Paired tests and intervals.

The paper compares two networks with a paired t-test whose pairs are distortion levels (Sections 5.1 and
5.2): seven pairs, and levels of one network are far from independent. Images are the better unit: both
networks see the same 10,000 test images, so each image is a pair. Both views are here. SciPy and
statsmodels do the work; arrays come in, small frozen dataclasses go out.

Shapes: accuracies are float [levels] in 0..1. Correctness bits are bool [images] or [levels, images], true
where the network named the right class; level 0 is the clean image.
"""

from dclib.statistics.defaults import CONFIDENCE, RESAMPLES, SIGNIFICANCE
from dclib.statistics.intervals import SeedInterval, difference_error, draws_interval, seed_interval, share_interval
from dclib.statistics.pairs import McNemar, TTest, draw_test, holm, mcnemar, paired_t_test
from dclib.statistics.resampling import (
    Interval,
    bootstrap_interval,
    bootstrap_pvalue,
    flip_test,
    percentile_interval,
    resample_groups,
    resample_means,
)
from dclib.statistics.separation import own_neighbours

__all__ = [
    "CONFIDENCE",
    "Interval",
    "McNemar",
    "RESAMPLES",
    "SIGNIFICANCE",
    "SeedInterval",
    "TTest",
    "bootstrap_interval",
    "bootstrap_pvalue",
    "difference_error",
    "draw_test",
    "draws_interval",
    "flip_test",
    "holm",
    "mcnemar",
    "own_neighbours",
    "paired_t_test",
    "percentile_interval",
    "resample_groups",
    "resample_means",
    "seed_interval",
    "share_interval",
]
