"""The networks as plain modules with named layers: AllConvNet (Figure 3a).

They take images in 0..255 and normalise inside, so that everything outside of a network speaks one scale.
"""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.fx
from safetensors.torch import load as safetensors_load
from torch import nn
from torch.nn.utils import parametrize

from dclib.errors import InputError

#: Mean and standard deviation per RGB channel of the 50,000 CIFAR-100 training images, on the 0..255 scale.
CIFAR100_MEAN = (129.3, 124.1, 112.4)
CIFAR100_STD = (68.2, 65.4, 70.4)


class Normalize(nn.Module):
    """(images - mean) / std per channel; both are constants of the network, not parameters.

    Input and output [N, C, H, W]; mean and std on the scale of the input.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class AllConvNet(nn.Module):
    """The fully convolutional CIFAR-100 network of Figure 3a: nine convolutions, each with BatchNorm and ReLU.

    Layers ``conv1``..``conv9`` have width, width, width, then five times 2 width, then `num_classes` filters;
    kernels are 3x3 except 1x1 in conv8 and conv9; conv3 and conv6 halve the resolution; conv7 has no padding
    (8x8 to 6x6), as in the released code. BatchNorm's epsilon and momentum are Keras 1's defaults.

    Args:
        num_classes: outputs; 100 in the paper.
        width: filters of the first three layers; 96 in the paper (1,389,804 trainable parameters), 32 in the
            `small` profile.
        mean, std: normalisation constants per channel on the 0..255 scale.
        batchnorm_momentum: weight of a new batch in the running statistics. Keras's 0.01 needs some hundred
            iterations to settle; very short schedules take more.

    Input [N, 3, 32, 32] in 0..255; output logits [N, num_classes].
    """

    #: The layers that the paper ranks and corrects (Section 5.1.2).
    correctable = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")

    def __init__(self, num_classes: int = 100, width: int = 96, mean: tuple[float, ...] = CIFAR100_MEAN,
                 std: tuple[float, ...] = CIFAR100_STD, batchnorm_momentum: float = 0.01) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        narrow, wide = width, 2 * width
        plan = [(narrow, 3, 1, 1), (narrow, 3, 1, 1), (narrow, 3, 2, 1), (wide, 3, 1, 1), (wide, 3, 1, 1),
                (wide, 3, 2, 1), (wide, 3, 1, 0), (wide, 1, 1, 0), (num_classes, 1, 1, 0)]
        channels = 3
        for i, (filters, kernel, stride, padding) in enumerate(plan, start=1):
            conv = nn.Conv2d(channels, filters, kernel, stride, padding)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(filters, eps=1e-3, momentum=batchnorm_momentum))
            channels = filters
        self.depth = len(plan)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Activations after conv9's ReLU: [N, num_classes, 6, 6] for 32x32 images."""
        x = self.normalize(images)
        for i in range(1, self.depth + 1):
            x = torch.relu_(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean(dim=(2, 3))


#: Mean per RGB channel of the ImageNet training images, on the 0..255 scale, as released.
IMAGENET_MEAN = (123.68, 116.779, 103.939)
#: SHA-256 of `weights/alexnet_conv_trunk.safetensors`: BVLC's conv1..conv5, which belong to the layout "caffe".
TRUNK_SHA256 = "a580f249e20d95e88255e0a1fcdb4892b937ac9d019d16aca3dd8783d4521153"


class CenterCrop(nn.Module):
    """The middle `size` x `size` pixels of images [N, C, H, W] that are at least that large."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        if min(height, width) < self.size:
            raise InputError(f"images: expected {self.size}x{self.size} pixels or more, got {height}x{width}; enlarge "
                             "them.")
        top, left = (height - self.size) // 2, (width - self.size) // 2
        return images[..., top:top + self.size, left:left + self.size]


class AlexNet(nn.Module):
    """AlexNet for ImageNet (Figure 3b): five convolutions, of which three in two groups, and three dense layers.

    Args:
        num_classes: outputs; 1000 in the paper (60,965,224 trainable parameters).
        layout: "paper" for the released network, whose LRN stands behind the pooling and is not divided by its
            size; "caffe" for BVLC's weights, whose LRN stands before the pooling. Weights belong to the layout
            that they were trained in.

    Input [N, 3, 227 or more, 227 or more] in 0..255 RGB, of which the middle 227x227 pixels are used: images are
    distorted at 256x256 and cropped after that, as released. Output logits [N, num_classes].
    """

    #: The layers that the paper ranks and corrects (Section 5.2.2).
    correctable = ("conv1", "conv2", "conv3", "conv4", "conv5")

    def __init__(self, num_classes: int = 1000, layout: str = "paper") -> None:
        super().__init__()
        if layout not in ("paper", "caffe"):
            raise InputError(f"layout: expected paper or caffe, got {layout!r}.")
        self.layout = layout
        self.crop = CenterCrop(227)
        self.normalize = Normalize(IMAGENET_MEAN, (1.0, 1.0, 1.0))
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        # torch divides alpha by the window's size; the released network does not.
        alpha, k = (5e-4, 2.0) if layout == "paper" else (1e-4, 1.0)
        self.lrn = nn.LocalResponseNorm(5, alpha=alpha, beta=0.75, k=k)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.fc6, self.fc7 = nn.Linear(256 * 6 * 6, 4096), nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.dropout = nn.Dropout(0.5)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Output of the last pooling, flattened: [N, 9216]."""
        x = self.normalize(self.crop(images))
        for conv in (self.conv1, self.conv2):
            x = torch.relu(conv(x))
            x = self.lrn(self.pool(x)) if self.layout == "paper" else self.pool(self.lrn(x))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.conv4(x))
        return self.pool(torch.relu(self.conv5(x))).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.dropout(torch.relu(self.fc6(self.features(images))))
        return self.fc8(self.dropout(torch.relu(self.fc7(x))))


def load_trunk(network: AlexNet, path: str | Path) -> None:
    """Give `network` the convolutions of a pre-trained AlexNet; its dense layers stay as they are.

    Args:
        network: in the layout "caffe", which the published convolutions were trained in.
        path: safetensors with ``conv1.weight`` .. ``conv5.bias`` and the published SHA-256.

    Raises:
        InputError: another layout; a missing or altered file.
    """
    if network.layout != "caffe":
        raise InputError(f"load_trunk: expected the layout caffe, got {network.layout!r}; the weights belong to it.")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected BVLC AlexNet's convolutions as safetensors, got {error.strerror}; put the "
                         "file there or name another folder with DCLIB_DATA.") from error
    if (found := hashlib.sha256(content).hexdigest()) != TRUNK_SHA256:
        raise InputError(f"{path}: expected SHA-256 {TRUNK_SHA256[:12]}.., got {found[:12]}..; fetch the file again.")
    state = {name: tensor.float() for name, tensor in safetensors_load(content).items()}
    network.load_state_dict(state, strict=False)


def multiply_adds(module: nn.Module, *shape: int) -> int:
    """Multiply-adds of the convolutions and dense layers of `module` for one input of `shape` [C, H, W].

    Biases count one each, as in Table 10, which calls the sum FLOPs.
    """
    counted = 0

    def count(layer: nn.Conv2d | nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        per_output = layer.weight[0].numel() + (layer.bias is not None)
        counted += per_output * output[0].numel()

    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    was_training = module.training
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *shape, device=next(module.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
        module.train(was_training)
    return counted


def count_parameters(model: nn.Module, trainable: bool = True) -> int:
    """How many parameters `model` has; only those that require a gradient when `trainable`."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


class _Frozen:
    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """BatchNorm that always normalises with its running statistics and never updates them.

    A frozen filter keeps its output only if the statistics behind it stay too; ``train()`` does not undo that.
    """


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """`FrozenBatchNorm2d` for the dense layers of a classifier."""


def named_conv(model: nn.Module, layer: str) -> nn.Conv2d:
    """The convolution called `layer` in `model`, or `InputError` naming what is there instead."""
    modules = dict(model.named_modules())
    convolutions = [name for name, m in modules.items() if isinstance(m, nn.Conv2d)]
    if layer not in modules:
        raise InputError(f"layer {layer!r}: expected the name of a convolution of {type(model).__name__}, "
                         f"which has {', '.join(convolutions) or 'none'}.")
    if not isinstance(modules[layer], nn.Conv2d):
        raise InputError(f"layer {layer!r}: expected an nn.Conv2d, got {type(modules[layer]).__name__}; "
                         f"the convolutions are {', '.join(convolutions) or 'none'}.")
    return modules[layer]


def batchnorm_behind(model: nn.Module, layers: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Which BatchNorm directly follows each of `layers`: {layer name: BatchNorm name}, without the others.

    Read off the traced graph, so it does not depend on names. A model that torch.fx cannot trace has to be
    wrapped so that it can.
    """
    modules = dict(model.named_modules())
    found = {}
    for node in trace(model).nodes:
        if node.op == "call_module" and isinstance(modules.get(node.target), (nn.BatchNorm1d, nn.BatchNorm2d)):
            source = node.all_input_nodes[0]
            if source.op == "call_module" and source.target in layers and len(source.users) == 1:
                found[source.target] = node.target
    return found


def trace(model: nn.Module) -> torch.fx.Graph:
    """The torch.fx graph of `model` in evaluation, its nn modules as leaves."""
    try:
        return LeafTracer().trace(model)
    except Exception as error:  # whatever the model's own code raises under tracing
        raise InputError(f"{type(model).__name__}: expected a model that torch.fx can trace, got "
                         f"{type(error).__name__} ({error}); take data-dependent branches out of forward.") from error


class LeafTracer(torch.fx.Tracer):
    """Keeps every module without children whole, so that each convolution stays one node of the graph."""

    def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
        return not any(True for _ in m.children()) or super().is_leaf_module(m, qualified_name)


def trainable_copy(model: nn.Module, layers: list[str] | tuple[str, ...], *, batch_statistics: bool = False) -> nn.Module:
    """A copy of `model` in which only `layers` and the BatchNorm behind them require gradients.

    This is Finetune-k when `layers` are the first k convolutions (Section 5.1.1). Every other BatchNorm is
    replaced by a `FrozenBatchNorm2d` (`FrozenBatchNorm1d` behind dense layers). With `batch_statistics` only their
    scale and shift are frozen: in training they normalise by the mini-batch and update their running statistics, as
    Keras 1 lets frozen layers do.
    """
    for layer in layers:
        if not isinstance(dict(model.named_modules()).get(layer), nn.Linear):
            named_conv(model, layer)
    behind = batchnorm_behind(model, layers) if layers else {}
    trained = {*layers, *behind.values()}
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules()):
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(name in trained)
        if type(module) in _FROZEN and name not in trained and module.track_running_stats and not batch_statistics:
            replace_module(copied, name, frozen_batchnorm(module))
    return copied


def selected_copy(model: nn.Module, filters: dict[str, Sequence[int]]) -> nn.Module:
    """A copy of `model` in which only the named filters' own weights and biases require gradients.

    This is the fine-tuning of selected filters (Bianchi et al., 2019): no filter is added and the network keeps its
    size. Every BatchNorm is frozen.

    Args:
        filters: {layer name: indices of the filters to train}; a layer without any is frozen.

    Raises:
        InputError: a layer that is unknown or no convolution; a filter that the layer does not have.
    """
    copied = trainable_copy(model, ())
    for layer, chosen in filters.items():
        conv, index = named_conv(copied, layer), torch.as_tensor(chosen, dtype=torch.int64)
        if index.ndim != 1 or (len(index) and not 0 <= int(index.min()) <= int(index.max()) < conv.out_channels):
            raise InputError(f"filters of {layer!r}: expected indices in 0..{conv.out_channels - 1}, got {chosen!r}.")
        for name in ("weight", "bias") if len(index) else ():
            if (parameter := getattr(conv, name)) is not None:
                selected = _SelectedRows(parameter.detach(), index.to(parameter.device))
                parametrize.register_parametrization(conv, name, selected)
                conv.parametrizations[name].original.requires_grad_(True)
    return copied


class _SelectedRows(nn.Module):
    """A parametrisation: some rows of a tensor are trained, the others stay as they are."""

    def __init__(self, frozen: torch.Tensor, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("frozen", frozen.clone())
        self.register_buffer("index", index)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.frozen.index_copy(0, self.index, rows)

    def right_inverse(self, whole: torch.Tensor) -> torch.Tensor:
        return whole[self.index]


_FROZEN = {nn.BatchNorm1d: FrozenBatchNorm1d, nn.BatchNorm2d: FrozenBatchNorm2d}


def frozen_batchnorm(batchnorm: nn.BatchNorm1d | nn.BatchNorm2d) -> FrozenBatchNorm1d | FrozenBatchNorm2d:
    """The frozen twin of `batchnorm` with its state, none of it trainable."""
    frozen = _FROZEN[type(batchnorm)](batchnorm.num_features, batchnorm.eps, batchnorm.momentum, batchnorm.affine)
    frozen.load_state_dict(batchnorm.state_dict())
    example = batchnorm.running_mean
    return frozen.to(example.device, example.dtype).requires_grad_(False).eval()


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `model` has the submodule `name`."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


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
