"""Mini-batches by iteration number: drawn, cropped, augmented, and part of them distorted."""

import torch
from torch.nn import functional as F

from dclib.datasets import Split
from dclib.distortions import Distort, blur_matrices, blur_with
from dclib.errors import InputError
from dclib.training import distributed
from dclib.training.schedule import AUGMENTATIONS, Schedule

#: Images of more bytes than this stay where they are, and each mini-batch travels to the device.
_RESIDENT_BYTES = 16 * 2**30


class Batches:
    """Mini-batches by iteration number: augmented, half distorted, in 0..255, on `device`."""

    def __init__(
        self,
        data: Split,
        schedule: Schedule,
        seed: int,
        distortion: str | Distort | None,
        sigmas: tuple[float, ...],
        device: torch.device,
        blur_of_bytes: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        resident = data.images.shape.numel() <= _RESIDENT_BYTES
        self.data = Split(data.images.to(device) if resident else data.images, data.labels.to(device))
        self.schedule, self.seed, self.distortion, self.device = schedule, seed, distortion, device
        self.blur_of_bytes = blur_of_bytes
        self.levels, self.sigmas = sigmas, torch.tensor(sigmas, device=self.device)
        self._pass, self._order = -1, torch.empty(0, dtype=torch.int64)
        if distortion == "blur":
            side = schedule.crop
            like = torch.empty((1, 1, side, side) if side else (1, *data.images.shape[1:]), dtype=dtype, device=device)
            pairs = [blur_matrices(like, sigma) for sigma in sigmas]
            self.rows, self.columns = (torch.stack(m).unsqueeze(1) for m in zip(*pairs))

    def draw(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images float [B, C, H, W] and labels [B] of one iteration."""
        index = self._sample(iteration)
        index = index[distributed.rank() :: distributed.world_size()]
        # Each process has a stream of its own; process 0 of one has the stream that it has without torchrun.
        stream = _stream(self.seed, iteration) + distributed.rank() * 2**40
        generator = torch.Generator(self.device).manual_seed(stream)
        images = self._cropped(self.data.images[index.to(self.data.images.device)]).to(self.device, self.dtype)
        if self.schedule.mixture == "each by chance":
            images = self._mix_by_chance(images, generator)
        else:
            images = augment(images, self.schedule.augmentation, generator)
            if self.distortion:
                half = len(images) // 2
                images = torch.cat([self._distort(images[:half], generator), images[half:]])
        return images, self.data.labels[index.to(self.device)]

    def _cropped(self, images: torch.Tensor) -> torch.Tensor:
        """The middle of the images: released for ImageNet, whose zero border of the blur therefore shows in training."""
        if not (side := self.schedule.crop):
            return images
        height, width = images.shape[-2:]
        if min(height, width) < side:
            raise InputError(f"training images: expected at least {side}x{side} pixels to crop, got {height}x{width}.")
        top, left = (height - side) // 2, (width - side) // 2
        return images[..., top : top + side, left : left + side]

    def _mix_by_chance(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Each image distorted with probability 1/2, each of the others augmented with probability 1/2."""
        chance = torch.rand(2, len(images), generator=generator, device=self.device) < 0.5
        distorted = chance[0] if self.distortion else torch.zeros_like(chance[0])
        for chosen, change in (
            (distorted, lambda x: self._distort(x, generator)),
            (~distorted & chance[1], lambda x: augment(x, self.schedule.augmentation, generator)),
        ):
            rows = chosen.nonzero().flatten()
            if len(rows):
                images[rows] = change(images[rows])
        return images

    def _sample(self, iteration: int) -> torch.Tensor:
        """Indices without replacement: pass after pass over the data, each in its own order."""
        size, count = self.schedule.batch_size, len(self.data)
        positions = torch.arange(iteration * size, (iteration + 1) * size)
        parts = []
        for number in torch.unique(positions // count).tolist():
            if number != self._pass:
                generator = torch.Generator().manual_seed(_stream(self.seed, -1 - number))
                self._pass, self._order = number, torch.randperm(count, generator=generator)
            parts.append(self._order[positions[positions // count == number] % count])
        return torch.cat(parts)

    def _distort(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        level = torch.randint(len(self.sigmas), (len(images),), generator=generator, device=self.device)
        if self.distortion == "blur":
            blurred = blur_with(images, self.rows[level], self.columns[level])
            return blurred.round_() if self.blur_of_bytes else blurred
        if callable(self.distortion):
            for number in level.unique().tolist():
                images[level == number] = self.distortion(images[level == number], self.levels[number])
            return images
        # In single precision in any case: in double precision the generator gives other noise.
        noise = torch.randn(images.shape, generator=generator, dtype=torch.float32, device=self.device)
        return images + noise * self.sigmas[level].view(-1, 1, 1, 1)


def augment(images: torch.Tensor, augmentation: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Random geometry per image, batched on the device: float [N, C, H, W] to the same shape.

    "pad-crop-flip": 4 pixels of zero padding, a random crop, a flip (He et al., cited in Section 5.1.1).
    "rotate-shift-flip": up to 20 degrees, up to 15 % either way, a flip, nearest pixels outside (released code).
    "rotate-shift-zoom-flip": the same, and coordinates along each axis times 0.75 to 1.25, as Keras zooms (released for
    ImageNet).
    """
    if augmentation == "none":
        return images
    n, _, height, width = images.shape
    uniform = _uniform(4, images, generator)
    flip = torch.where(uniform[0] < 0.5, -1.0, 1.0)
    if augmentation == "pad-crop-flip":
        shift = torch.floor(uniform[1:3] * 9).long() - 4
        padded = F.pad(images, (4, 4, 4, 4))
        rows = torch.arange(height, device=images.device) + 4 + shift[0, :, None]
        columns = torch.arange(width, device=images.device).expand(n, width)
        columns = torch.where(flip[:, None] < 0, width - 1 - columns, columns) + 4 + shift[1, :, None]
        image = torch.arange(n, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if augmentation not in AUGMENTATIONS:
        raise InputError(f"augment: expected one of {', '.join(AUGMENTATIONS)}, got {augmentation!r}.")
    angle = torch.deg2rad((uniform[1] * 2 - 1) * 20)
    shift = (uniform[2:4] * 2 - 1) * 0.15 * 2  # affine_grid's axes run from -1 to 1
    cos, sin = torch.cos(angle), torch.sin(angle)
    zoom = torch.ones(2, n, dtype=images.dtype, device=images.device)
    if augmentation == "rotate-shift-zoom-flip":  # Keras multiplies coordinates by it: below 1 it enlarges
        zoom = 0.75 + 0.5 * _uniform(2, images, generator)
    # Angles are those of pixels, and axes of unequal length have unequal pixels in affine_grid's unit.
    aspect = height / width
    theta = torch.stack(
        [
            torch.stack([flip * cos * zoom[0], -sin * zoom[1] * aspect, shift[0]], -1),
            torch.stack([flip * sin * zoom[0] / aspect, cos * zoom[1], shift[1]], -1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="border", align_corners=False)


def _uniform(count: int, images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """[count, N] of the same numbers in every precision: drawn in single precision, then of the images' own."""
    drawn = torch.rand(count, len(images), generator=generator, dtype=torch.float32, device=images.device)
    return drawn.to(images.dtype)


def _stream(seed: int, number: int) -> int:
    """A generator seed for one iteration (number >= 0) or one pass over the data (number < 0)."""
    return (seed * 2_000_003 + number + 1_000_000) % 2**63
