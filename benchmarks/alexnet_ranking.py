"""All 1376 filters of AlexNet: seconds and bytes of the shortcut beside the naive loop's, at equal batch size.

usage: python -m benchmarks.alexnet_ranking [--device cpu] [--images 20] [--naive-filters 4] [--repeats 2]

The shortcut ranks every filter at one level; a naive pass costs the same for every filter of a layer, so
`--naive-filters` of each are timed and counted for all, after a call that does not count; the shortcut has none. Each
way runs in a process of its own, whose peak memory is what it needed. The paper's released code keeps the outputs of
all layers on disk, up to 50 GB by its own words; both ways here keep nothing on disk. Weights and images are random,
so that nothing is skipped for being unchanged.
"""

import argparse
import multiprocessing
import resource

import torch

from benchmarks.measure import entry, seconds, write
from benchmarks.ranking import clean_outputs, naive
from dclib.models import AlexNet
from dclib.ranking import swap_accuracy
from dclib.training import keep_freed_memory


def inputs(images: int, device: str) -> tuple:
    torch.manual_seed(0)
    model = AlexNet(20, "caffe").to(device).eval()
    clean = torch.rand(images, 3, 227, 227, device=device) * 255
    distorted = (clean + 20 * torch.randn_like(clean)).unsqueeze(0)
    with torch.inference_mode():
        labels = model(clean).argmax(1)
    return model, clean, distorted, labels


def work(way: str, options: argparse.Namespace, sender) -> None:
    """Time one way in this process; send {layer: seconds for all of its filters} and the peak bytes."""
    keep_freed_memory()
    model, clean, distorted, labels = inputs(options.images, options.device)
    times, found = {}, {}
    for layer in AlexNet.correctable:
        count = model.get_submodule(layer).out_channels
        kept = clean_outputs(model, layer, clean, options.images) if way == "naive" else None
        few = count if way == "shortcut" else min(options.naive_filters, count)

        def rank():
            if way == "shortcut":
                found[layer] = swap_accuracy(model, [layer], clean, distorted, labels, batch_size=options.images)[layer]
            else:
                found[layer] = naive(model, layer, few, kept, distorted, labels, options.images)

        times[layer] = [t * count / few for t in seconds(rank, options.device, options.repeats, warm_up=way == "naive")]
    peak = (
        torch.cuda.max_memory_allocated(options.device)
        if options.device.startswith("cuda")
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    sender.send((times, peak, {layer: values[: options.naive_filters].tolist() for layer, values in found.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--images", 20), ("--naive-filters", 4), ("--repeats", 2)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    context, results = multiprocessing.get_context("spawn"), {}
    for way in ("shortcut", "naive"):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(way, options, sender))
        process.start()
        results[way] = receiver.recv()
        process.join()
    entries, middle = [], {way: {k: sorted(v)[len(v) // 2] for k, v in results[way][0].items()} for way in results}
    for layer in AlexNet.correctable:
        for way in results:
            more = {"ratio": middle["naive"][layer] / middle["shortcut"][layer]} if way == "naive" else {}
            entries.append(entry(f"{layer}: {way}", results[way][0][layer], 1, "s", **more))
    ratio = sum(middle["naive"].values()) / sum(middle["shortcut"].values())
    print(f"All filters: {ratio:.2f} times as fast; peak bytes {results['shortcut'][1]:,} and {results['naive'][1]:,}")
    write(
        "alexnet-ranking",
        entries,
        options.device,
        images=options.images,
        ratio=ratio,
        peak_bytes={way: results[way][1] for way in results},
        accuracies_differ=results["shortcut"][2] != results["naive"][2],
    )


if __name__ == "__main__":
    main()
