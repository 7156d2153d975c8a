"""How the outcome of Borda's election is made: every image votes once per level, by how far each filter's map moves."""

import torch

from dclib import ranking
from dclib.execution.checkpoint import Parts
from dclib.execution.inputs import Inputs, left_out, pairs, ranking_images
from dclib.experiments import Run


def make_election(run: Run, inputs: Inputs, device: torch.device, parts: Parts) -> dict:
    """Points of every filter of each layer (Bianchi et al., 2019); no label has a part in it."""
    model, images = inputs.network.to(device), ranking_images(run, inputs.data)
    clean, distorted = pairs(run, images, device)
    parts.total = len(run.layers)
    votes = {}
    for layer in run.layers:
        votes[layer] = parts.find(
            layer,
            lambda layer=layer: torch.from_numpy(
                ranking.activation_distances(model, [layer], clean, distorted)[layer]
            ).flatten(0, 1),
        )
    points = {layer: ranking.borda_count(found.numpy()).tolist() for layer, found in votes.items()}
    return {"points": points, "voters": len(images) * len(run.sigmas), "images": len(images)} | left_out(inputs.data)
