"""Correction units (Section 4.2, Figure 7, Table 10), the networks that carry them, and the files that keep these."""

from dclib.correction.correcting import correct, uncorrected, unit_shares
from dclib.correction.saving import load, save
from dclib.correction.units import (
    CRITICALLY_WIDE,
    INITIALISATIONS,
    RELEASED_CIFAR100,
    CorrectedConv2d,
    CorrectionUnit,
    PartialBatchNorm2d,
    UnitDesign,
)

__all__ = [
    "CRITICALLY_WIDE",
    "INITIALISATIONS",
    "RELEASED_CIFAR100",
    "CorrectedConv2d",
    "CorrectionUnit",
    "PartialBatchNorm2d",
    "UnitDesign",
    "correct",
    "load",
    "save",
    "uncorrected",
    "unit_shares",
]
