"""What more machines are worth, as a page: arithmetic from the costs of records and from assumptions that it names."""

from collections.abc import Sequence

import torch

from dclib.execution.forecast import Forecast, duration
from dclib.execution.scaling import Machine, Training, clients_link, longest_chain, makespan
from dclib.execution.sitting import SITTING
from dclib.experiments import HALVES, Run, profile, queue, trained_parameters
from dclib.models import AlexNet, AllConvNet, multiply_adds, shapes_alone
from dclib.results import Record, Store

MACHINES, GPUS = (1, 2, 5, 10, 20, 50, 100), (1, 8, 64)
#: Bytes a second of the client's link, assumed.
LINK = 1.25e8


def page(store: Store) -> str:
    """The whole page as Markdown, from the records of `store`."""
    records = store.readable()
    return "\n".join(
        [
            "# What more machines are worth",
            "",
            *_introduction(),
            "",
            "## The CIFAR half on CPUs",
            "",
            *_cifar(records),
            "",
            "## Full ImageNet on GPUs",
            "",
            *_imagenet(records),
            "",
        ]
    )


def _introduction() -> list[str]:
    return [
        "Nothing on this page was timed on a cluster: *not run yet*. It is arithmetic, done again whenever the book is built, "
        "from what records cost on one core and from assumptions that stand beside it. {doc}`../book/how_to_cluster` says "
        "how to start one."
    ]


def _cifar(records: Sequence[Record]) -> list[str]:
    """The half of CIFAR-100, profile small, as runs beside each other."""
    runs, forecast = queue(HALVES["cifar100"], profile("small")), Forecast(records)
    known = {run.id: cost for run in runs if (cost := forecast.seconds(run)) is not None}
    if not known:
        return ["*Not run yet*: no record of the profile small says what a run costs."]
    mean = sum(known.values()) / len(known)

    def seconds(run: Run) -> float:
        return known.get(run.id, mean)

    times = {machines: makespan(runs, seconds, machines) for machines in MACHINES}
    chain, rate = longest_chain(runs, seconds), clients_link(_parameters(AllConvNet(100, runs[0].width)), SITTING)
    lines = [
        f"{len(runs)} runs of the profile *small*, one at a time on each machine, one core each. {len(known)} have a like run "
        f"among the records, whose cost stands for theirs; the others count as the mean of these, {duration(mean)}.",
        "",
        "| machines | time | times as fast | busy |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {machines} | {duration(time)} | {times[1] / time:.3g} | {100 * times[1] / time / machines:.0f} % |"
        for machines, time in times.items()
    ]
    return [
        *lines,
        "",
        f"The longest chain of runs that need each other takes {duration(chain)}; so more than "
        f"{times[1] / chain:.0f} machines cannot help, however the runs are shared out. A training sends a checkpoint to the "
        f"client every {duration(SITTING)} and gets it back, {rate / 1e6:.2g} MB/s; a link of {LINK / 1e6:.0f} MB/s at the "
        f"client carries {LINK / rate:.0f} of them.",
    ]


def _imagenet(records: Sequence[Record]) -> list[str]:
    """One training of the profile paper on several GPUs, and all of them."""
    machine, paper = Machine(), profile("paper")
    runs = queue(HALVES["imagenet"], paper)
    trainings = {run.id: _training(run) for run in runs if run.kind == "train"}
    whole = max(trainings.values(), key=lambda training: training.iterations)
    lines = [
        f"A training of AlexNet: {whole.iterations:,} iterations of {whole.batch} images, {whole.multiply_adds / 1e6:.0f} million "
        f"multiply-adds forwards for each and twice as many backwards, {whole.parameters / 1e6:.0f} million parameters, of "
        f"which {whole.trained / 1e6:.3g} million are trained. "
        f"Assumed: {machine.operations / 1e12:.0f} TFLOP/s of one GPU at work, {machine.gpus} GPUs in a machine, "
        f"{machine.within / 1e9:.0f} GB/s between two of them, {machine.between / 1e9:.0f} GB/s and {machine.latency * 1e6:.0f} µs "
        f"between machines, {machine.disk / 1e9:.0f} GB/s from a machine's disk. Distortions are not counted.",
        "",
        "| GPUs | the network | reading images | exchange of gradients | looks at validation | in all | times as fast |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    alone = whole.seconds(1, machine)
    for gpus in GPUS:
        parts = whole.parts(gpus, machine)
        total = sum(parts.values())
        lines.append(f"| {gpus} | {' | '.join(map(duration, parts.values()))} | {duration(total)} | {alone / total:.3g} |")
    return [
        *lines,
        "",
        *_ends(whole, machine),
        "",
        *_all_trainings(runs, trainings, machine),
        "",
        *_beside_the_record(records, machine),
    ]


def _ends(whole: Training, machine: Machine) -> list[str]:
    most = whole.worth_it(machine)
    parts = whole.parts(2 * most, machine)
    heaviest = max(parts, key=parts.get)
    words = {
        "network": "the network itself",
        "reading": "reading images",
        "exchange": "the exchange of gradients",
        "looks": "looks at the validation images, which one process does",
    }
    rate = clients_link(whole.parameters, SITTING)
    return [
        f"Doubling the GPUs of one training stops being worth it, by less than a fifth, at {most}; beyond, most of the time goes "
        f"to {words[heaviest]}. Images that stay in memory bring one GPU to {duration(whole.in_memory(machine))}. A training's "
        f"checkpoints, {rate / 1e6:.2g} MB/s to the client and back, fill a link of {LINK / 1e6:.0f} MB/s with "
        f"{LINK / rate:.0f} trainings at once."
    ]


def _all_trainings(runs: Sequence[Run], trainings: dict[str, Training], machine: Machine) -> list[str]:
    """64 GPUs shared out over all trainings, one or several for each."""
    most = GPUS[-1]
    lines = [
        f"All {len(trainings)} trainings of the half, rankings and tests not counted, on {most} GPUs:",
        "",
        "| GPUs for each training | trainings at once | time |",
        "|---:|---:|---:|",
    ]
    for gpus in GPUS:

        def seconds(run: Run, gpus: int = gpus) -> float:
            return trainings[run.id].seconds(gpus, machine) if run.id in trainings else 0.0

        lines.append(f"| {gpus} | {most // gpus} | {duration(makespan(runs, seconds, most // gpus))} |")
    return lines


def _beside_the_record(records: Sequence[Record], machine: Machine) -> list[str]:
    """What the same count of operations gives for a training that was made."""
    made = [
        record
        for record in records
        if record.description["kind"] == "train"
        and record.seed == 0
        and record.description.get("network") == "AlexNet"
        and "base" not in record.description
    ]
    if not made:
        return []
    schedule, record = made[0].description["schedule"], made[0]
    work = 6 * _multiply_adds(record.description["classes"]) * schedule["iterations"] * schedule["batch_size"]
    rate = work / record.cost["seconds"]
    return [
        f"The same count for the record of AlexNet's baseline, {schedule['iterations']:,} iterations of {schedule['batch_size']} in "
        f"{duration(record.cost['seconds'])} on {record.environment['threads']} thread of {record.environment['device']}, gives "
        f"{rate / 1e9:.0f} GFLOP/s with looks and test. At that rate the training above takes {duration(work_of_paper() / rate)}."
    ]


def work_of_paper() -> float:
    """Floating-point operations of the longest training of the ImageNet half, profile paper, without looks."""
    runs = queue(HALVES["imagenet"], profile("paper"))
    return max(
        6.0 * t.multiply_adds * t.iterations * t.batch for t in map(_training, (r for r in runs if r.kind == "train"))
    )


def _training(run: Run) -> Training:
    schedule = run.schedule
    looks = -(-schedule.iterations // schedule.evaluate_every)
    images = (run.validation_images or 10) * run.classes
    return Training(
        schedule.iterations,
        schedule.batch_size,
        _multiply_adds(run.classes),
        _parameters(_alexnet(run.classes)),
        trained_parameters(run),
        looks * images * (1 + len(run.sigmas)),
    )


def _multiply_adds(classes: int) -> int:
    return multiply_adds(_alexnet(classes), 3, 227, 227)


def _alexnet(classes: int) -> AlexNet:
    with shapes_alone():  # only counted: it gets no memory
        return AlexNet(classes)


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
