"""The trained networks that are published, by name: the paper's, made again, and one for all of ImageNet."""

from torch import nn

from dclib import execution, experiments, published
from dclib.errors import InputError
from dclib.results import Store


def load_model(name: str, *, distortion: str = "blur", profile: str | None = None, seed: int = 0) -> nn.Module:
    """A trained network, ready to use: `load_model("deepcorr-6", distortion="blur")`, or `load_model("efficientnet-lite0")`.

    Args:
        name: "baseline", "finetune-k", "deepcorr-k" or "deepcorr-kc" for CIFAR-100; "efficientnet-lite0" for ImageNet, which
            others published and none of the further arguments changes. In any case of letters.
        distortion: what it was trained against, "blur" or "awgn"; the baseline is the same for both.
        profile: "paper", or "small" for the labelled stand-in; the first of the two that is there when None.
        seed: of its training.

    Returns:
        The network in evaluation mode, on the CPU, for images in 0..255: [N, 3, 32, 32] to logits [N, 100], with a
        `profile` attribute that says which one it is; EfficientNet-Lite0 [N, 3, 224, 224] to logits [N, 1000].

    Raises:
        InputError: an unknown name, or one whose weights are not published; the sentence names the command. For
            EfficientNet-Lite0 as `published.efficientnet_lite0`.
    """
    if name.strip().lower() == "efficientnet-lite0":
        return published.efficientnet_lite0()
    method, store = name.strip().capitalize(), Store()
    for name in ("paper", "small") if profile is None else (profile,):
        run = experiments.method_run(experiments.profile(name), method, distortion, seed)
        run = run.base if run.kind == "evaluate" else run
        if store.weights(run).exists():
            network = execution.network(run, store)
            network.profile = name
            return network
    raise InputError(
        f"load_model: expected a published network, got {method} for {distortion}, which is not in "
        f"{store.folder}; make it with `dclib run table{3 if distortion == 'blur' else 4} --profile "
        f"{profile or 'small'}`, or let DCLIB_RESULTS name the data/results of a checkout."
    )
