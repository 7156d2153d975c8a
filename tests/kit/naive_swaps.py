"""Algorithm 1 as it is written, one full forward pass per filter, and images and labels to compare with it on."""

import copy

import numpy as np
import torch
from swap_networks import CLASSES
from torch import nn


def outputs_of(model, layer, images):
    found = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, i, output: found.append(output.clone()))
    model(images.clone())
    hook.remove()
    return found[0]


def accuracy_after_swap(model, layer, filters, clean, distorted, labels):
    return correct_after_swap(model, layer, filters, clean, distorted, labels).double().mean().item()


def correct_after_swap(model, layer, filters, clean, distorted, labels):
    """One level, one full pass: the outputs of `filters` are replaced by those for the clean images."""
    undistorted = outputs_of(model, layer, clean)

    def swap(module, inputs, output):
        output = output.clone()
        output[:, filters] = undistorted[:, filters]
        return output

    hook = model.get_submodule(layer).register_forward_hook(swap)
    predicted = model(distorted.clone()).argmax(1)
    hook.remove()
    return predicted == labels


@torch.inference_mode()
def naive_swap_accuracy(model, layer, filters, clean, distorted, labels):
    model = copy.deepcopy(model).eval()
    return np.array([[accuracy_after_swap(model, layer, [f], clean, level, labels) for level in distorted] for f in filters])


def pairs(count, size, scale, levels=2):
    """Clean images, strongly distorted ones, and labels that are the clean predictions for most."""
    generator = torch.Generator().manual_seed(1)
    clean = 255 * torch.rand(count, 3, size, size, generator=generator, dtype=torch.float64)
    noise = torch.randn(levels, count, 3, size, size, generator=generator, dtype=torch.float64)
    spread = torch.linspace(40, 160, levels).view(-1, 1, 1, 1, 1)
    distorted = clean + spread * noise
    distorted[:, 0] = clean[0]  # an image that no distortion changes
    return scale * clean, scale * distorted


def labelled(model, clean):
    """Each image's prediction, except for every fourth."""
    with torch.no_grad():
        labels = copy.deepcopy(model).eval()(clean.clone()).argmax(1)
    labels[::4] = (labels[::4] + 1) % CLASSES
    return labels


def centred(model, clean):
    """Shift the last bias so that the predictions spread over the classes."""
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(clean.clone())
        last = [
            m
            for m in model.modules()
            if isinstance(m, (nn.Linear, nn.Conv2d))
            and (getattr(m, "out_features", 0) == CLASSES or getattr(m, "out_channels", 0) == CLASSES)
        ]
        if last and last[-1].bias is not None and len(logits) > 1:
            last[-1].bias -= logits.mean(0)
    return model
