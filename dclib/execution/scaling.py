"""How long runs would take on so many machines: arithmetic over what is known of one. Nothing is made.

Two ways to use more of them, with different ends. Runs beside each other (`makespan`) stop where the longest chain of runs,
each of which needs the one before, is all that is left. One training on several GPUs (`Training`) stops where reading
images, exchanging gradients and looking at the validation images, which one process does, take longer than the network.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dclib.execution.queueing import Queue
from dclib.experiments import Run

#: Bytes of a number, of a decoded image of ImageNet, and of what a checkpoint holds: the network, its best and velocities.
NUMBER, IMAGE, STATES = 4, 3 * 256**2, 3


def makespan(runs: Sequence[Run], seconds: Callable[[Run], float], machines: int) -> float:
    """Seconds until all of `runs` are made, one at a time on each machine, by the queue that hands them out in fact.

    seconds: how long a run takes by itself.
    """
    line, at_work, now = Queue(runs, lambda run: False), [], 0.0
    while line.waiting:
        while len(at_work) < machines and (run := line.take()):
            heapq.heappush(at_work, (now + seconds(run), run.id, run))
        now, _, done = heapq.heappop(at_work)
        line.finish(done)
    return now


def longest_chain(runs: Sequence[Run], seconds: Callable[[Run], float]) -> float:
    """Seconds of the longest chain of runs that need each other: no number of machines is faster."""

    def until(run: Run) -> float:
        return seconds(run) + max(map(until, run.needs), default=0.0)

    return max(map(until, runs), default=0.0)


@dataclass(frozen=True)
class Machine:
    """What is assumed of a machine with GPUs.

    Args:
        operations: floating-point operations a second that one GPU does while it trains.
        gpus: how many there are in one machine.
        within, between: bytes a second of the links between two GPUs of one machine, and between machines.
        latency: seconds of one message between GPUs.
        disk: bytes a second that one machine reads of images mapped into memory.
    """

    operations: float = 1e14
    gpus: int = 8
    within: float = 2e11
    between: float = 2.5e10
    latency: float = 1e-5
    disk: float = 3e9


@dataclass(frozen=True)
class Training:
    """One training on several GPUs, each with its share of every mini-batch.

    Args:
        iterations, batch: its length.
        multiply_adds: of the network for one image, forwards.
        parameters: of the network; of them `trained` ones, whose gradients are exchanged.
        looked_at: images for which the network is asked at all looks together, at all levels; by one process.
    """

    iterations: int
    batch: int
    multiply_adds: int
    parameters: int
    trained: int
    looked_at: int

    def parts(self, gpus: int, machine: Machine) -> dict[str, float]:
        """Seconds of each part of the training; their sum is its length, for no part waits for another's end in vain."""
        machines = -(-gpus // machine.gpus)
        forward = 2 * self.multiply_adds / machine.operations
        link = machine.within if machines == 1 else machine.between
        exchange = 2 * (gpus - 1) * (self.trained * NUMBER / gpus / link + machine.latency)  # a ring: two rounds
        each = {
            "network": 3 * forward * self.batch / gpus,  # forwards once, backwards twice as much
            "reading": self.batch * IMAGE / machines / machine.disk,
            "exchange": exchange,
        }
        return {name: self.iterations * seconds for name, seconds in each.items()} | {"looks": self.looked_at * forward}

    def seconds(self, gpus: int, machine: Machine) -> float:
        return sum(self.parts(gpus, machine).values())

    def worth_it(self, machine: Machine, gain: float = 1.2) -> int:
        """The most GPUs, a power of two, of which the second half makes the training `gain` times as fast or faster."""
        gpus = 1
        while self.seconds(gpus, machine) >= gain * self.seconds(2 * gpus, machine):
            gpus *= 2
        return gpus

    def in_memory(self, machine: Machine) -> float:
        """Seconds on one GPU whose images are read from memory, which takes no time."""
        return self.seconds(1, replace(machine, disk=float("inf")))


def clients_link(parameters: int, sitting: float) -> float:
    """Bytes a second between a client and the workers for each training under way: a checkpoint there and back a sitting."""
    return 2 * STATES * parameters * NUMBER / sitting
