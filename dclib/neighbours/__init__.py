"""The three neighbouring studies: conditions that images come under, a gate of image quality, deblurring, segmentation."""

from dclib.neighbours.adversaries import fgsm, pgd
from dclib.neighbours.conditions import ADVERSARIES, under
from dclib.neighbours.deconvolution import STRENGTHS, deblur
from dclib.neighbours.detection import Detection, detection, false_alarm_threshold
from dclib.neighbours.quality import natural_scene_statistics
from dclib.neighbours.segmentation import Segmenter, fit_head, mean_iou, mosaics
from dclib.neighbours.student import Student, distil, suspicion

__all__ = [
    "ADVERSARIES",
    "STRENGTHS",
    "Detection",
    "Segmenter",
    "Student",
    "deblur",
    "detection",
    "distil",
    "false_alarm_threshold",
    "fgsm",
    "fit_head",
    "mean_iou",
    "mosaics",
    "natural_scene_statistics",
    "pgd",
    "suspicion",
    "under",
]
