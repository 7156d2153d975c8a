"""One training on several processes, as torchrun starts them: for full ImageNet (Section 5.2).

Without torchrun there is one process, and everything here does nothing.
"""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

#: Rank 0 ranks and evaluates alone while the others wait.
_PATIENCE = timedelta(days=2)


def start(device: str) -> str:
    """Join the processes that torchrun started, if it did; returns the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.startswith("cuda"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_PATIENCE)
    return device


def stop() -> None:
    """Leave the processes; nothing where there is one."""
    if world_size() > 1:
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; process 0 evaluates and writes."""
    return dist.get_rank() if world_size() > 1 else 0


def agreed(value: object) -> object:
    """What process 0 passes here, in all processes."""
    if world_size() == 1:
        return value
    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def wrapped(model: nn.Module) -> nn.Module:
    """`model` such that its gradients are averaged over the processes; `model` itself where there is one."""
    if world_size() == 1:
        return model
    return nn.parallel.DistributedDataParallel(model)
