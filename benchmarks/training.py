"""Training images per second of the main networks, with augmentation, distortion and update.

usage: python -m benchmarks.training [--networks 32 96 alexnet] [--threads 1] [--device cpu] [--precision float32]
       python -m benchmarks.training --jobs 2
       python -m benchmarks.training --device cuda --precision bfloat16 --networks 96 --compile

`of_operations` is the share of what a network's own operations allow at the baseline's rate: images per second, times the
operations of its forward and backward pass, over the same product of the baseline. Operations are those of a network
assembled by hand, whose units get their channels for nothing. `of_matrix_rate` sets them against the machine's rate for
one large matrix product. With --jobs, so many processes of one thread train at once, beside one process of all threads.
With --compile the forward and backward passes are fused by `torch.compile`, which dclib does not do: what that gains has
not been measured on a GPU yet.
"""

import argparse
import copy
import multiprocessing
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import entry, seconds, write
from dclib.correction import CorrectedConv2d, correct
from dclib.datasets import Split
from dclib.distortions import levels
from dclib.experiments import imagenet, profile
from dclib.models import AlexNet, AllConvNet, trainable_copy
from dclib.training import Batches, TrainStep, keep_freed_memory, optimiser_for

WIDTHS = {"32": "small", "96": "short-training"}


def networks(kind: str) -> dict[str, nn.Module]:
    """The networks to train, the one that the others are measured by first: of Tables 3 and 4, or 7 and 8."""
    if kind == "alexnet":
        base = AlexNet(20, "caffe")
        filters = {layer: list(range(count)) for layer, count in imagenet.ALEXNET_FILTERS.items()}
        return {"Finetune-8": base, "Deepcorr-5": correct(base, filters, imagenet.ALEXNET_UNITS["Deepcorr-5"])}
    p = profile(WIDTHS[kind])
    base, conv = AllConvNet(width=p.width), [f"conv{i}" for i in range(1, 10)]
    filters = {layer: list(range(p.narrow if i < 3 else p.wide)) for i, layer in enumerate(conv[:6])}
    follow = {"batch_statistics": True}
    return {
        "Baseline": base,
        "Finetune-1": trainable_copy(base, conv[:1], **follow),
        "Finetune-9": trainable_copy(base, conv, **follow),
        "Deepcorr-1": correct(base, {"conv1": filters["conv1"]}, p.design, **follow),
        "Deepcorr-6": correct(base, filters, p.design, **follow),
        "Deepcorr-6c": correct(base, filters, p.design, also_train=conv[6:], **follow),
    }


def operations(model: nn.Module, side: int, count: int = 2) -> float:
    """Floating-point operations per image of one forward and backward pass, without those of choosing channels."""
    model = copy.deepcopy(model).cpu().train()
    for layer in model.modules():
        if isinstance(layer, CorrectedConv2d):
            layer.forward = _by_hand(layer)
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(model(torch.rand(count, 3, side, side) * 255), torch.zeros(count, dtype=int)).backward()
    return counter.get_total_flops() / count


def _by_hand(layer: CorrectedConv2d):
    def forward(x: torch.Tensor) -> torch.Tensor:
        y = layer.conv(x)
        return y.index_copy(1, layer.index, layer.unit(y[:, layer.index]))

    return forward


def matrix_rate(device: str, precision: str) -> float:
    """Floating-point operations per second of one large matrix product."""
    size = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.rand(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b, device, repeats=5))


def iterations(kind: str, model: nn.Module, device: str, precision: str, fused: bool = False):
    """A function that trains for one iteration of the profile's schedule, and how many images that is."""
    scale = "imagenet" if kind == "alexnet" else "cifar100"
    schedule = profile("small").imagenet.deepcorrect if kind == "alexnet" else profile(WIDTHS[kind]).deepcorrect
    side = 256 if kind == "alexnet" else 32
    data = Split(torch.randint(0, 256, (500, 3, side, side), dtype=torch.uint8), torch.randint(0, 20, (500,)))
    batches = Batches(data, schedule, 0, "blur", levels(scale, "blur"), torch.device(device))
    model = model.to(device).train()
    step, position = TrainStep(model, optimiser_for(model, schedule), schedule, precision), iter(range(10**9))
    if fused:
        step.forward = torch.compile(model)
    return (lambda: step(*batches.draw(next(position)), 0.001)), schedule.batch_size


def measure(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    entries, limit = [], matrix_rate(options.device, options.precision)
    for kind in options.networks:
        made, steps, first = networks(kind), {}, {}
        for name, model in made.items():
            steps[name], images = iterations(kind, model, options.device, options.precision, options.compile)
            began = time.perf_counter()
            steps[name]()
            first[name] = time.perf_counter() - began
        times = {name: [] for name in made}
        for _ in range(options.repeats):  # in turn, so that a change in the machine's load meets all of them
            for name, step in steps.items():
                times[name] += seconds(step, options.device, repeats=options.iterations, warm_up=False)
        work = {name: operations(model, 227 if kind == "alexnet" else 32) for name, model in made.items()}
        rates = {name: images / statistics.median(t) for name, t in times.items()}
        baseline = next(iter(made))
        for name, rate in rates.items():
            share = rate * work[name] / (rates[baseline] * work[baseline])
            label = f"{'AlexNet' if kind == 'alexnet' else f'width {kind}'}: {name}"
            entries.append(
                entry(
                    label,
                    times[name],
                    images,
                    "s/image",
                    images_per_second=rate,
                    seconds_of_the_first_iteration=first[name],
                    operations_per_image=work[name],
                    of_operations=share,
                    of_matrix_rate=rate * work[name] / limit,
                )
            )
            print(f"{label}: {rate:.1f} images/s, {share:.2f} of what its operations allow", flush=True)
    name = f"training-{options.precision}-{options.threads}thread{'-compiled' * options.compile}"
    write(name, entries, options.device, matrix_operations_per_second=limit)


def _train_for(kind: str, name: str, threads: int, seconds_each: float, start, found) -> None:
    torch.set_num_threads(threads)
    keep_freed_memory()
    step, images = iterations(kind, networks(kind)[name], "cpu", "float32")
    step()
    start.wait()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds_each:
        step()
        done += images
    found.put(done / (time.perf_counter() - begun))


def together(kind: str, name: str, processes: int, threads: int, seconds_each: float) -> float:
    """Images per second of so many processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=_train_for, args=(kind, name, threads, seconds_each, start, found)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(found.get() for _ in workers)


def measure_jobs(options: argparse.Namespace) -> None:
    entries = []
    for kind in (k for k in options.networks if k != "alexnet"):
        for name in ("Baseline", "Deepcorr-1", "Deepcorr-6"):
            rates = [
                [together(kind, name, n, t, options.seconds) for n, t in ((options.jobs, 1), (1, options.jobs))]
                for _ in range(options.repeats)
            ]
            many, one = (statistics.median(column) for column in zip(*rates))
            entries.append(
                entry(
                    f"width {kind}: {name}, {options.jobs} processes of one thread",
                    [1 / jobs for jobs, _ in rates],
                    1,
                    "s/image",
                    images_per_second=many,
                    ratio_to_one_process_of_all_threads=many / one,
                )
            )
            print(
                f"width {kind}: {name}: {many:.0f} images/s with {options.jobs} processes, {one:.0f} with one of "
                f"{options.jobs} threads: {many / one:.2f}",
                flush=True,
            )
    write("training-jobs", entries, "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", choices=[*WIDTHS, "alexnet"], default=[*WIDTHS, "alexnet"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=2, help="timed one by one, in every repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    keep_freed_memory()
    (measure_jobs if options.jobs else measure)(options)


if __name__ == "__main__":
    main()
