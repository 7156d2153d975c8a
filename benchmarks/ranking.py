"""Algorithm 1 against the naive loop of one full forward pass per filter, at equal batch size and precision.

usage: python -m benchmarks.ranking [--device cpu] [--width 96] [--images 100] [--naive-filters 8]

The shortcut ranks every filter of every layer at one level. A naive pass costs the same for every filter of a layer,
so `--naive-filters` of them are timed and counted for all; both take turns, so that a change in the machine's load
meets both. Counted by operations, the shortcut saves a factor 1.74 over the first three layers of AllConvNet and
4.26 over all six.
The network is untrained with random BatchNorm statistics; images are noise: no filter is dead, so that nothing is
skipped for being unchanged.
"""

import argparse
import statistics

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
    for name, default in (("--width", 96), ("--images", 100), ("--naive-filters", 8), ("--repeats", 3)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    keep_freed_memory()
    model = network(options.width, options.device)
    clean = torch.rand(options.images, 3, 32, 32, device=options.device) * 255
    distorted = (clean + 20 * torch.randn_like(clean)).unsqueeze(0)
    labels = model(clean).argmax(1)
    entries, totals, differing = [], {"fast": [], "naive": []}, 0
    for layer in AllConvNet.correctable:
        count = model.get_submodule(layer).out_channels
        few, results = min(options.naive_filters, count), {}
        kept = clean_outputs(model, layer, clean, options.images)

        def fast():
            results["fast"] = ranking.swap_accuracy(model, [layer], clean, distorted, labels,
                                                    batch_size=options.images)[layer]

        def slow():
            results["naive"] = naive(model, layer, few, kept, distorted, labels, options.images)

        times = taking_turns({"fast": fast, "naive": slow}, options.device, options.repeats)
        times["naive"] = [t * count / few for t in times["naive"]]
        differing += int((results["fast"][:few] != results["naive"]).sum())
        ratios = [n / f for n, f in zip(times["naive"], times["fast"])]
        entries += [entry(f"{layer}, {count} filters: shortcut", times["fast"], 1, "s"),
                    entry(f"{layer}, {count} filters: naive, from {few}", times["naive"], 1, "s",
                          ratio=statistics.median(ratios))]
        for name in totals:
            totals[name].append(times[name])
    summary = {}
    for layers in (3, 6):
        fast_s, naive_s = ([sum(repeat) for repeat in zip(*totals[name][:layers])] for name in ("fast", "naive"))
        ratios = sorted(n / f for n, f in zip(naive_s, fast_s))
        summary[f"ratio_conv1_to_conv{layers}"] = {"median": statistics.median(ratios), "lowest": ratios[0],
                                                   "highest": ratios[-1]}
    for name, ratio in summary.items():
        print(f"{name} {ratio['median']:.2f} ({ratio['lowest']:.2f} to {ratio['highest']:.2f})")
    print(f"{differing} accuracies differ")
    write("ranking", entries, options.device, width=options.width, images=options.images, levels=len(distorted),
          accuracies_that_differ=differing, **summary)


if __name__ == "__main__":
    main()
