"""Algorithm 1 against the naive loop of one full forward pass per filter, at equal batch size and precision.

usage: python -m benchmarks.ranking [--device cpu] [--width 96] [--images 100] [--naive-filters 4]

The shortcut ranks every filter at one level: conv1..3 in one call, conv4..6 in another, each with its own two forward
passes for the activations. A naive pass costs the same for every filter of a layer, so `--naive-filters` of them are
timed and counted for all; the pass for the clean outputs is left out. All take turns, so that a change in the machine's
load meets each. Counted by operations, the shortcut saves a factor 1.74 over the first three layers of AllConvNet and
4.26 over all six.
The network is untrained with random BatchNorm statistics; images are noise: no filter is dead, so that nothing is
skipped for being unchanged.
"""

import argparse
from functools import partial

import numpy as np
import torch

from benchmarks.measure import entry, taking_turns, write
from dclib import ranking
from dclib.models import AllConvNet
from dclib.training import keep_freed_memory


def clean_outputs(model, layer, clean, batch_size) -> list[torch.Tensor]:
    """The layer's outputs for undistorted images, batch by batch: what the naive loop swaps in."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    with torch.inference_mode():
        for batch in clean.split(batch_size):
            model(batch)
    handle.remove()
    return kept


def naive(model, layer, filters, kept, distorted, labels, batch_size) -> np.ndarray:
    """Algorithm 1 to the letter: accuracies [filters, levels] of the first `filters` of one layer.

    `kept` are the `clean_outputs`: one pass for all filters, so it is left out of what is timed per filter.
    """
    accuracy, current = np.zeros((filters, len(distorted))), {}

    def swap(module, inputs, output):
        output[:, current["filter"]] = kept[current["batch"]][:, current["filter"]]
        return output

    handle = model.get_submodule(layer).register_forward_hook(swap)
    with torch.inference_mode():
        for level, images in enumerate(distorted):
            for number in range(filters):
                right = 0
                for i, (batch, label) in enumerate(zip(images.split(batch_size), labels.split(batch_size))):
                    current.update(filter=number, batch=i)
                    right += (model(batch).argmax(1) == label).sum().item()
                accuracy[number, level] = right / len(labels)
    handle.remove()
    return accuracy


def network(width: int, device: str) -> AllConvNet:
    """A network whose BatchNorm statistics are not trivial, so that folding them is tested too."""
    torch.manual_seed(0)
    model = AllConvNet(width=width)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3), module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return model.to(device).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--width", 96), ("--images", 100), ("--naive-filters", 4), ("--repeats", 3)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()
    model = network(options.width, options.device)
    clean = torch.rand(options.images, 3, 32, 32, device=options.device) * 255
    distorted = (clean + 20 * torch.randn_like(clean)).unsqueeze(0)
    labels = model(clean).argmax(1)
    layers, found, work = AllConvNet.correctable, {}, {}
    counts = {layer: model.get_submodule(layer).out_channels for layer in layers}
    few = {layer: min(options.naive_filters, count) for layer, count in counts.items()}

    def shortcut(group):
        found.update(ranking.swap_accuracy(model, group, clean, distorted, labels, batch_size=options.images))

    for group in (layers[:3], layers[3:]):
        work[f"shortcut, {group[0]} to {group[-1]}"] = partial(shortcut, group)
    for layer in layers:
        kept = clean_outputs(model, layer, clean, options.images)

        def slow(layer=layer, kept=kept):
            found[f"naive {layer}"] = naive(model, layer, few[layer], kept, distorted, labels, options.images)

        work[f"naive, {layer}"] = slow
    shortcut(layers[-1:])  # the first call of all would be slower
    times = taking_turns(work, options.device, options.repeats)
    for layer in layers:
        times[f"naive, {layer}"] = [t * counts[layer] / few[layer] for t in times[f"naive, {layer}"]]
    fast = [np.array(ts) for name, ts in times.items() if name.startswith("shortcut")]
    loop = [np.array(times[f"naive, {layer}"]) for layer in layers]
    summary = {}
    for name, ratios in (("ratio_conv1_to_conv3", sum(loop[:3]) / fast[0]), ("ratio_conv1_to_conv6", sum(loop) / sum(fast))):
        summary[name] = {"median": float(np.median(ratios)), "lowest": ratios.min(), "highest": ratios.max()}
        print(f"{name} {np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
    differing = sum(int((found[layer][: few[layer]] != found[f"naive {layer}"]).sum()) for layer in layers)
    print(f"{differing} accuracies differ")
    write(
        "ranking",
        [entry(name, ts, 1, "s") for name, ts in times.items()],
        options.device,
        width=options.width,
        images=options.images,
        levels=len(distorted),
        naive_filters=options.naive_filters,
        filters=counts,
        accuracies_that_differ=differing,
        **summary,
    )


if __name__ == "__main__":
    main()
