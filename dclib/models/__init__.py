"""Networks: the paper's own, and what is done to any."""

from dclib.models.networks import (
    CIFAR100_MEAN,
    CIFAR100_STD,
    IMAGENET_MEAN,
    TRUNK_SHA256,
    AlexNet,
    AllConvNet,
    CenterCrop,
    Normalize,
    ResNet8,
    load_trunk,
)
from dclib.models.norms import KerasBatchNorm2d
from dclib.models.running import evaluation_mode, images_at_once, predicted_classes, unwrapped
from dclib.models.surgery import (
    FrozenBatchNorm1d,
    FrozenBatchNorm2d,
    batchnorm_behind,
    count_parameters,
    deep_copy,
    filter_index,
    frozen_batchnorm,
    modules_by_name,
    multiply_adds,
    named_conv,
    replace_module,
    selected_copy,
    trace,
    trainable_copy,
)

__all__ = ["CIFAR100_MEAN", "CIFAR100_STD", "IMAGENET_MEAN", "TRUNK_SHA256", "AlexNet", "AllConvNet", "CenterCrop",
           "FrozenBatchNorm1d", "FrozenBatchNorm2d", "KerasBatchNorm2d", "Normalize", "ResNet8", "batchnorm_behind",
           "count_parameters", "deep_copy", "evaluation_mode", "filter_index", "frozen_batchnorm", "images_at_once", "load_trunk",
           "modules_by_name", "multiply_adds", "named_conv", "predicted_classes", "replace_module", "selected_copy",
           "trace", "trainable_copy", "unwrapped"]
