"""Networks that others trained and published: the authors' own, checked, read and put into networks of ours, and
EfficientNet-Lite0 for all of ImageNet."""

from dclib.published.conversion import corrected_filters, load_arrays
from dclib.published.efficientnet import EFFICIENTNET_SHA256, efficientnet_lite0
from dclib.published.reading import checked_file, git_blob, read_arrays

__all__ = [
    "EFFICIENTNET_SHA256",
    "checked_file",
    "corrected_filters",
    "efficientnet_lite0",
    "git_blob",
    "load_arrays",
    "read_arrays",
]
