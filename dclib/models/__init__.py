"""Networks: the paper's own, what is done to any, and the trained ones that are published."""

from torch import nn

from dclib.errors import InputError
from dclib.models.networks import (
    CIFAR100_MEAN,
    CIFAR100_STD,
    IMAGENET_MEAN,
    TRUNK_SHA256,
    AlexNet,
    AllConvNet,
    CenterCrop,
    Normalize,
    load_trunk,
)
from dclib.models.norms import KerasBatchNorm2d
from dclib.models.running import evaluation_mode, images_at_once, predicted_classes, unwrapped
from dclib.models.surgery import (
    FrozenBatchNorm1d,
    FrozenBatchNorm2d,
    batchnorm_behind,
    count_parameters,
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
           "FrozenBatchNorm1d", "FrozenBatchNorm2d", "KerasBatchNorm2d", "Normalize", "batchnorm_behind",
           "count_parameters", "evaluation_mode", "filter_index", "frozen_batchnorm", "images_at_once", "load", "load_trunk",
           "modules_by_name", "multiply_adds", "named_conv", "predicted_classes", "replace_module", "selected_copy",
           "trace", "trainable_copy", "unwrapped"]


def load(name: str, *, distortion: str = "blur", profile: str | None = None, seed: int = 0) -> nn.Module:
    """A trained CIFAR-100 network, ready to use: `load("deepcorr-6", distortion="blur")`.

    Args:
        name: "baseline", "finetune-k", "deepcorr-k" or "deepcorr-kc", in any case.
        distortion: what it was trained against, "blur" or "awgn"; the baseline is the same for both.
        profile: "paper", or "small" for the labelled stand-in; the first of the two that is there when None.
        seed: of its training.

    Returns:
        The network in evaluation mode, on the CPU; input [N, 3, 32, 32] in 0..255, output logits [N, 100]. Its
        `profile` attribute says which one it is.

    Raises:
        InputError: an unknown name, or one whose weights are not published; the sentence names the command.
    """
    # Experiments know which run a name stands for. They stand to the right of this module, so they are asked here,
    # at the call, and never at import.
    from dclib import execution, experiments
    from dclib.results import Store
    method, store = name.strip().capitalize(), Store()
    for scale in ("paper", "small") if profile is None else (profile,):
        run = experiments.method_run(experiments.profile(scale), method, distortion, seed)
        run = run.base if run.kind == "evaluate" else run
        if store.weights(run).exists():
            network = execution.network(run, store)
            network.profile = scale
            return network
    raise InputError(f"load: expected a published network, got {method} for {distortion}, which is not run yet; make it "
                     f"with `dclib run table{3 if distortion == 'blur' else 4} --profile {profile or 'small'}`.")
