"""Somebody else's networks: every classification network of torchvision, and timm's, through all that dclib does with one.

usage: python -m benchmarks.zoo [--library torchvision|timm] [--only resnet18 ...] [--seconds 1500] [--again]

Each network runs in a process of its own with limits of memory and time, with random weights, on small images. In turn:

- trace and rank one layer by Algorithm 1, and compare every filter with the naive loop, in float64, by an answer that swaps of
  about half of the filters change;
- correct some of its filters, train a step, and look that nothing frozen moved;
- save, load into a new network, and compare the answers;
- export to ONNX, and compare ONNX Runtime's answers.

The first step that does not succeed ends it: *refused* is a sentence of dclib's, *fails* anything else. Networks that have a
result are left out unless `--again` is given, so that the suite can be made slice by slice; `--seconds` ends a slice.
"""

import argparse
import copy
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import measure
from dclib.correction import UnitDesign, correct, load, save
from dclib.errors import InputError
from dclib.execution.environment import environment
from dclib.models import evaluation_mode
from dclib.ranking import hits_after_swaps

CLASSES, IMAGES, SIDE = 10, 6, 64
#: Images of which every swap is compared, each by an answer of its own.
COMPARED = 2
#: What one network may take.
CPU_SECONDS, BYTES = 300, 6 * 2**30
#: Input sizes that a network asks for.
SIDES = {"inception_v3": 96, "maxvit_t": 224}
#: How far answers of another library may be from ours, as a share of their spread.
TOLERANCE = 1e-3
#: How far two ways to one score may be from each other, as a share of it.
ROUNDING = 1e-12


def names(library: str) -> list[str]:
    if library == "torchvision":
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
        return sorted(known, key=lambda name: torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"])
    import timm

    families: dict[str, str] = {}
    for name in timm.list_models():  # one, the first, of each of its families
        families.setdefault(timm.models.model_entrypoint(name).__module__, name)
    return sorted(families.values())


def build(library: str, name: str) -> tuple[nn.Module, int]:
    """A network with random weights, and the side of its images."""
    torch.manual_seed(0)
    if library == "torchvision":
        import torchvision

        side, options = SIDES.get(name, SIDE), {}
        if name in ("inception_v3", "googlenet"):
            options = {"aux_logits": False, "init_weights": False}
        elif name.startswith("vit_"):
            side = 2 * int(name.split("_")[2]) if name.endswith("14") else SIDE
            options = {"image_size": side}
        return torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **options), side
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    given = model.default_cfg.get("input_size", (3, 224, 224))[-1]
    return model, given if model.default_cfg.get("fixed_input_size") else min(96, given)


def settled(model: nn.Module, side: int) -> nn.Module:
    """`model` in evaluation mode, as if it had been trained: no scale is what it begins with, and statistics are those of
    images, without which an image is lost on its way through many a fresh network, or every rounding grows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
            module.reset_running_stats()
        if getattr(module, "gamma", None) is not None and isinstance(module.gamma, nn.Parameter):
            nn.init.uniform_(module.gamma, 0.1, 0.5)  # layers that begin as if they were not there
        if getattr(module, "layer_scale", None) is not None and isinstance(module.layer_scale, nn.Parameter):
            nn.init.uniform_(module.layer_scale, 0.1, 0.5)
    with torch.inference_mode():
        model.train()(torch.randn(16, 3, side, side) * (1 + torch.rand(16, 1, 1, 1) / 2))  # as strong as distorted ones, too
    return model.eval()


def layer_of(model: nn.Module, side: int) -> str:
    """A convolution to rank: the one with the fewest filters, which are four or more, of those that give maps of several
    pixels; the first of several."""
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    if not convolutions:
        raise InputError(
            f"{type(model).__name__}: expected a network with convolutions, got one without any; there is nothing "
            "to correct."
        )
    single = set()  # those that weigh channels, as in squeeze-and-excitation

    def look(name: str) -> Callable[[nn.Module, tuple, torch.Tensor], None]:
        return lambda _, inputs, output: single.add(name) if output.shape[-1] == 1 else None

    handles = [module.register_forward_hook(look(name)) for name, module in convolutions.items()]
    with torch.inference_mode():
        model(torch.randn(1, 3, side, side))
    for handle in handles:
        handle.remove()
    return min(convolutions, key=lambda name: (name in single, (count := convolutions[name].out_channels) < 4, count))


def naive(model: nn.Module, layer: str, clean: torch.Tensor, distorted: torch.Tensor) -> torch.Tensor:
    """The score of every answer [filters, N], by one full forward pass per filter."""
    conv, kept, current = model.get_submodule(layer), [], [None]

    def swap(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor | None:
        if current[0] is None:
            kept.append(output.clone())
            return None
        output = output.clone()
        output[:, current[0]] = kept[0][:, current[0]]
        return output

    handle, found = conv.register_forward_hook(swap), []
    with torch.inference_mode():
        model(clean.clone())
        for number in range(conv.out_channels):
            current[0] = number
            found.append(model(distorted.clone()) @ weights())
    handle.remove()
    return torch.stack(found)


def weights() -> torch.Tensor:
    """What each logit counts in the score of an answer."""
    return torch.randn(CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def between(scores: torch.Tensor) -> float:
    """A score that about half of the scores [filters] exceed: the middle of the widest gap in the central half.

    Raises ValueError where that gap is no wider than rounding.
    """
    ordered = scores.sort().values
    quarter = len(ordered) // 4
    gaps = ordered.diff()[quarter : max(quarter + 1, len(ordered) - 1 - quarter)]
    if gaps.max() <= ROUNDING * scores.abs().max():
        raise ValueError("swaps do not change the score of an answer, which proves nothing")
    low = quarter + int(gaps.argmax())
    return float((ordered[low] + ordered[low + 1]) / 2)


def asked(model: nn.Module, score: float) -> nn.Module:
    """`model`, which answers 1 where its score is higher than `score`, else 0.

    A third logit, far below, lets its logits be as far apart as those of others: ranking measures rounding by that.
    """
    head = nn.Linear(CLASSES, 3).double()
    with torch.no_grad():
        head.weight.zero_(), head.weight[1].copy_(weights())
        head.bias.copy_(torch.tensor([score, 0.0, -10 * abs(score) - 10]))
    return nn.Sequential(model, head).eval()


def rank(model: nn.Module, layer: str, side: int) -> dict:
    """Every filter's swap, ours and the naive loop's; ValueError where they differ.

    A swap of one filter hardly ever changes which of ten classes is first. So each image is asked whether a weighted sum of
    its logits is above about the median of all swaps: the naive loop has about as many answers of either kind.
    """
    model = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(1)
    clean = torch.randn(COMPARED, 3, side, side, generator=generator, dtype=torch.float64)
    distorted = clean + torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    scores, wrong, rarer = naive(model, layer, clean, distorted), 0, 0
    for image in range(COMPARED):
        score, one = between(scores[:, image]), slice(image, image + 1)
        network, yes = asked(model, score), torch.ones(1, dtype=torch.long)
        bits = hits_after_swaps(network, [f"0.{layer}"], clean[one], distorted[one][None], yes)[f"0.{layer}"].reshape(-1)
        expected = (scores[:, image] > score).numpy()
        wrong += int((bits != expected).sum())
        rarer += min(int(expected.sum()), int((~expected).sum()))
    if wrong:
        raise ValueError(f"{wrong} of {scores.numel()} swaps are not those of the naive loop")
    return {"layer": layer, "filters": len(scores), "swaps": scores.numel(), "swaps_with_the_rarer_answer": rarer}


def train(model: nn.Module, layer: str, side: int) -> nn.Module:
    """A corrected network after a step; ValueError where something frozen moved, or where nothing moved."""
    chosen = list(range(0, model.get_submodule(layer).out_channels, 2))[:8]
    network = correct(model, {layer: chosen}, UnitDesign(8, (1, 3), input_batchnorm=True)).train()
    free = {name for name, p in network.named_parameters() if p.requires_grad}
    # Buffers of the unit and of the BatchNorm whose channels are trained follow the mini-batches.
    ours = {name.rpartition(".")[0] for name in free}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    F.cross_entropy(network(torch.randn(IMAGES, 3, side, side)), torch.arange(IMAGES) % CLASSES).backward()
    optimiser.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    wrong = {name for name in moved - free if not any(name.startswith(place) for place in ours)}
    if wrong or not moved & free:
        raise ValueError(f"moved although frozen: {', '.join(sorted(wrong)[:3])}" if wrong else "nothing moved")
    return network.eval()


def reload(network: nn.Module, model: nn.Module, images: torch.Tensor, folder: Path) -> None:
    path = save(network, folder / "network.safetensors")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    loaded = load(other, path).eval()
    with torch.inference_mode():
        if not torch.equal(loaded(images.clone()), network(images.clone())):
            raise ValueError("the loaded network answers otherwise")


def export(network: nn.Module, images: torch.Tensor, folder: Path) -> dict:
    import onnxruntime

    path = folder / "network.onnx"
    torch.onnx.export(network, (images,), path, dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: images.numpy()})[0])
    with evaluation_mode(network), torch.inference_mode():
        expected = network(images)
    off = ((found - expected).abs().max() / (expected.max() - expected.min())).item()
    if not off <= TOLERANCE:
        raise ValueError(f"ONNX Runtime's answers are off by {off:.1e} of their spread")
    return {"onnx_off_by": float(f"{off:.1e}")}


def tried(library: str, name: str, folder: Path) -> dict:
    """One network through all steps."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: dict = {"name": name, "library": library}
    began, step = time.process_time(), "build"

    def next_step(following: str) -> None:
        nonlocal began, step
        now = time.process_time()
        found.setdefault("seconds", {})[step], began, step = round(now - began, 2), now, following

    try:
        model, side = build(library, name)
        settled(model, side)
        found |= {"side": side, "parameters": sum(p.numel() for p in model.parameters())}
        next_step("rank")
        found |= rank(model, layer := layer_of(model, side), side)
        next_step("train")
        network = train(model, layer, side)
        images = torch.randn(2, 3, side, side)
        next_step("save")
        reload(network, model, images, folder)
        next_step("onnx")
        found |= export(network, images, folder)
        next_step("end")
        found["state"] = "works"
    except InputError as error:
        found |= {"state": "refused", "step": step, "why": str(error)[:400]}
    except MemoryError:
        found |= {"state": "not run", "step": step, "why": f"more than {BYTES / 2**30:.0f} GiB of memory"}
    except Exception as error:  # whatever torch, ONNX or the network raises
        memory = "allocate memory" in str(error) or "out of memory" in str(error)
        state, why = (
            ("not run", f"more than {BYTES / 2**30:.0f} GiB of memory")
            if memory
            else ("fails", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        )
        found |= {"state": state, "step": step, "why": why}
    found["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def in_a_process(library: str, name: str) -> dict:
    """`tried`, in a process with limits; what ends it by force is a result too."""
    import tempfile

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_AS, (BYTES + 6 * 2**30,) * 2)  # libraries alone reserve some GiB of addresses

    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.zoo", "--library", library, "--one", name, str(result)],
            preexec_fn=limited,
            capture_output=True,
            text=True,
        )
        if result.exists():
            return json.loads(result.read_text())
    why = (
        f"more than {CPU_SECONDS} s"
        if done.returncode == -24
        else (
            f"ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1][:200] if done.stderr.strip() else ''}"
        )
    )
    return {"name": name, "library": library, "state": "not run", "why": why}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=("torchvision", "timm"), default="torchvision")
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # the process of one network
    options = parser.parse_args()
    if options.one:
        name, result = options.one
        Path(result).write_text(json.dumps(tried(options.library, name, Path(result).parent)))
        return
    made_on = environment("cpu")
    path = measure.FOLDER / measure.file_name("zoo", made_on)
    packages = ("torch", "torchvision", "onnxruntime", *(("timm",) if options.library == "timm" else ()))
    content = json.loads(path.read_text()) if path.exists() else {"suite": "zoo", "versions": {}, "networks": {}}
    until, known = time.monotonic() + options.seconds, names(options.library)
    content["known"] = content.get("known", {}) | {options.library: len(known)}
    content.setdefault("environment", made_on)
    path.write_text(json.dumps(content, indent=1) + "\n")
    for name in options.only or known:
        key = f"{options.library}/{name}"
        if time.monotonic() > until or (key in content["networks"] and not (options.again or options.only)):
            continue
        found = in_a_process(options.library, name)
        content["networks"][key] = found
        content |= {"environment": made_on, "versions": content["versions"] | {p: version(p) for p in packages}}
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(f"{key:40} {found['state']:8} {found.get('why', '')}", flush=True)


if __name__ == "__main__":
    main()
