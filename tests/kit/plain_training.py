"""A training written out by hand, and what a training showed its network."""

import torch
from support import data_of
from torch.nn import functional as F

from dclib.training import train


def train_by_hand(model, batches, s, penalty=lambda model: 0.0):
    """SGD with Nesterov momentum as Keras has it, on a loss with its penalties written out; gives the losses."""
    losses = []
    parameters = [p for p in model.parameters() if p.requires_grad]
    velocity = [torch.zeros_like(p) for p in parameters]
    model.train()
    for i, (images, labels) in enumerate(batches):
        loss = F.cross_entropy(model(images), labels) + penalty(model)
        rate = s.rate(i)
        for p, v, g in zip(parameters, velocity, torch.autograd.grad(loss, parameters)):
            v.mul_(0.9).sub_(rate * g)  # the rate is inside: a velocity keeps its size when the rate falls
            p.data += 0.9 * v - rate * g
        losses.append(loss.item())
    return losses


def recorded(model, data, s, into=None, precision="float32"):
    """Train `model`; returns the images and labels of each iteration, and puts the curve into `into`."""
    inputs = []
    hook = model.register_forward_pre_hook(lambda m, i: inputs.append(i[0].clone()) if m.training else None)
    progress = train(model, data, data_of(6, seed=1), s, seed=1, precision=precision)
    hook.remove()
    if into is not None:
        into += progress.curve
    whole = data.images.float()

    def label(image):
        return data.labels[(whole == image).flatten(1).all(1)][0]

    return [(batch, torch.stack([label(image) for image in batch])) for batch in inputs]
