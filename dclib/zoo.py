"""The trained networks that are published, by name."""

from torch import nn

from dclib import execution, experiments
from dclib.errors import InputError
from dclib.results import Store


def load_model(name: str, *, distortion: str = "blur", profile: str | None = None, seed: int = 0) -> nn.Module:
    """A trained CIFAR-100 network, ready to use: `load_model("deepcorr-6", distortion="blur")`.

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
    method, store = name.strip().capitalize(), Store()
    for name in ("paper", "small") if profile is None else (profile,):
        run = experiments.method_run(experiments.profile(name), method, distortion, seed)
        run = run.base if run.kind == "evaluate" else run
        if store.weights(run).exists():
            network = execution.network(run, store)
            network.profile = name
            return network
    raise InputError(f"load_model: expected a published network, got {method} for {distortion}, which is not run yet; make "
                     f"it with `dclib run table{3 if distortion == 'blur' else 4} --profile {profile or 'small'}`.")
