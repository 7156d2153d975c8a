"""The trained networks that are published, by name: the paper's, made again, and one for all of ImageNet."""

from torch import nn

from dclib import execution, experiments, published
from dclib.errors import InputError
from dclib.experiments import PREFERRED
from dclib.results import Store


def load_model(name: str, *, distortion: str = "blur", profile: str | None = None, seed: int = 0) -> nn.Module:
    """A trained network, ready to use: `load_model("deepcorr-6", distortion="blur")`, or `load_model("efficientnet-lite0")`.

    Args:
        name: "baseline", "finetune-k", "deepcorr-k" or "deepcorr-kc" for CIFAR-100; "efficientnet-lite0" for ImageNet, which
            others published and none of the further arguments changes. In any case of letters.
        distortion: what it was trained against, "blur" or "awgn"; the baseline is the same for both.
        profile: "paper", or a labelled stand-in: "short-training" at the paper's width, "small" at a third of it. None takes
            the first of them that is published.
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
    described: dict[str, tuple[str, experiments.Run]] = {}  # two profiles may share a run: the first one names it
    for name in PREFERRED if profile is None else (profile,):
        run = experiments.method_run(experiments.profile(name), method, distortion, seed)
        run = run.base if run.kind == "evaluate" else run
        described.setdefault(run.id, (name, run))
    for name, run in described.values():
        if store.weights(run).exists():
            network = execution.network(run, store)
            network.profile = name
            return network
    recorded = [name for name, run in described.values() if store.get(run)]
    # A record without its weights is made again only when that is asked for; the last profile is the quickest.
    again = " --recompute" if recorded else ""
    raise InputError(
        f"load_model: expected a published network, got {method} for {distortion}, seed {seed}, which is not in "
        f"{store.folder}; make it with `dclib run table{3 if distortion == 'blur' else 4} --methods {method} --seeds {seed} "
        f"--profile {recorded[-1] if recorded else profile or 'small'}{again}`, or let DCLIB_RESULTS name the data/results of a checkout."
    )
