"""The one exception type for input that a user can mend, and the checks that several modules share."""

import torch


class InputError(ValueError):
    """Bad input, said in one sentence: what was expected, what came, what to do.

    The command line prints the sentence and exits with code 2, without a traceback.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.split()))  # one line, also when it quotes an error of several


def without_extra(what: str, error: ModuleNotFoundError) -> InputError:
    """The sentence for `what` in an installation of the core alone; `error` itself is raised where it is one of our own."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "dclib"):
        raise error
    return InputError(
        f"{what}: expected an installation with the package {package}, got one without; pip install 'dclib[repro]'."
    )


def check_images(images: torch.Tensor, name: str = "images") -> None:
    """Raise `InputError` unless `images` is a non-empty floating-point tensor [N, C, H, W]."""
    if not isinstance(images, torch.Tensor):
        raise InputError(
            f"{name}: expected a torch tensor [N, C, H, W], got {type(images).__name__}; convert it with torch.as_tensor."
        )
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(
            f"{name}: expected a non-empty tensor [N, C, H, W], got shape {list(images.shape)}; "
            "add the missing axes with unsqueeze or pass some images."
        )
    if not images.is_floating_point():
        raise InputError(
            f"{name}: expected floating-point values in 0..255, got {images.dtype}; convert with images.float()."
        )


def check_pixel_range(images: torch.Tensor, name: str = "images") -> None:
    """Raise `InputError` for NaN, infinities, or values scaled to 0..1 or -1..1 instead of 0..255.

    Values a little outside 0..255 pass: noise is not clipped (Section 3.2 and the released code). Reading
    the extremes waits for the device, so the training step calls the unchecked kernels instead.
    """
    low, high = (float(v) for v in torch.aminmax(images.detach()))
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise InputError(f"{name}: expected finite values in 0..255, got NaN or infinity; repair or drop those images.")
    largest = max(abs(low), abs(high))
    if 0 < largest <= 1:
        raise InputError(
            f"{name}: expected values in 0..255, got {low:.3g}..{high:.3g}; "
            "multiply by 255 (sigma is given on the 0..255 scale)."
        )
    if low < 0 and largest < 5:
        raise InputError(
            f"{name}: expected values in 0..255, got {low:.3g}..{high:.3g}, which looks "
            "normalised; distort first, normalise afterwards."
        )


def check_labels(labels: torch.Tensor, count: int, classes: int | None = None, name: str = "labels") -> None:
    """Raise `InputError` unless `labels` is a tensor [count] of whole numbers, each one of 0..classes - 1."""
    if not isinstance(labels, torch.Tensor):
        raise InputError(
            f"{name}: expected a torch tensor [{count}], got {type(labels).__name__}; convert them with torch.as_tensor."
        )
    if labels.shape != (count,) or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"{name}: expected {count} whole numbers, got {labels.dtype} {list(labels.shape)}; give each "
            "image the number of its class."
        )
    if count and (int(labels.min()) < 0 or (classes is not None and int(labels.max()) >= classes)):
        raise InputError(
            f"{name}: expected classes from 0{'' if classes is None else f' to {classes - 1}'}, got "
            f"{int(labels.min())} to {int(labels.max())}; leave images of other classes out."
        )
