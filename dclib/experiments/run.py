"""Descriptions of runs: frozen, complete, and hashed into an identity."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property

from dclib.correction import UnitDesign
from dclib.training import Schedule

#: Shares of a layer's filters that are swapped together in Figures 4 and 5.
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Selection:
    """Which filters of which layers are corrected.

    Args:
        order: "ranked" (most susceptible first), "least" (least susceptible), "random", "joint" (each the one that helps
            most beside those before it), "spaced" (every so many-th filter), "elected" or "unelected" (by Borda's count of
            how far activation maps move, most or fewest points first).
        scope: "local" takes counts[i] filters of layer i; "global" takes sum(counts) filters over all layers.
        score: "priority" (Eq. 1) or "relative_error" (the released code).
        counts: (layer, number of filters) pairs.
        draw: which random draw, for order "random".
    """

    order: str
    scope: str
    score: str
    counts: tuple[tuple[str, int], ...]
    draw: int = 0


@dataclass(frozen=True)
class Run:
    """One run, fully specified. `id` is a hash of this description and of nothing else.

    Kinds: "train" (a baseline when `base` is None), "rank" (Algorithm 1), "swap" (Figures 4 and 5: the top
    fractions of one layer swapped together). `base` is the run whose network this one starts from, `ranking` the
    run of Algorithm 1 that chose its filters; in the description they stand as their ids.

    An AlexNet has a `layout`, the SHA-256 of the pre-trained convolutions in its `trunk`, no `width`, and one of the
    `designs` per layer. `validation_images` and `test_images` are then counted per class; all when None;
    `restoration` names what is done to distorted images before the network of `base` sees them (Tables 7 and 8).
    Kind "transfer" trains linear SVMs on `features` of the network of `base`, with the images that `trained_on` says
    (Tables 13 to 15). Kind "embed" lays the test images of the classes `shown` out in the plane by those features
    (Figures 2 and 10). Kind "select" chooses the filters of its one layer by joint swaps, and tries that order and Eq. 1's on
    the validation images. Kind "import" tests a network that the authors published, read from the file whose git blob SHA-1
    is `blob`; of a corrected one `selection` says how many filters of each layer are corrected.

    `batch_statistics` lets frozen BatchNorms follow the mini-batches, as released; `blur_of_bytes` rounds blurred values to
    whole grey values, as OpenCV does with uint8 images. `semantics` names by whose rules networks are made and trained
    (`SEMANTICS`), so that a record made under others is none of this run.

    A run of EfficientNet-Lite0 without a `base` starts from its published weights, whose SHA-256 is its `trunk`; its test
    also counts where the true class is among the first five. `unlabelled` trains on the frozen network's own answers.

    Runs of the neighbouring studies name `conditions` (`neighbours.under`). Kind "gate" learns from test images under those
    of `learned_from` when the network errs, and is tried on others; `fractions` are the shares of each class that it learns
    from and that set its threshold. Kind "train" with conditions blurs half of each mini-batch by kernels drawn from them.
    Kind "blurred" looks at the network of `base`, or a published one, under each condition, at images of `side` pixels where
    that is given; kind "deblurred" undoes each with its true kernel first. Kind "elect" holds Borda's election among the
    filters of `layers`. A "train" with a selection and no `design` trains the selected filters themselves, and
    `training_images` is how many images of each class a training sees; all when None.
    """

    kind: str
    method: str
    dataset: str
    fingerprint: str
    classes: int
    width: int
    seed: int
    distortion: str | None = None
    sigmas: tuple[float, ...] = ()
    photographs: tuple[int, ...] = ()
    batchnorm_momentum: float = 0.01
    precision: str = "float32"
    validation_images: int | None = None
    layers: tuple[str, ...] = ()
    also_train: tuple[str, ...] = ()
    design: UnitDesign | None = None
    selection: Selection | None = None
    schedule: Schedule | None = None
    ranking_images: int = 0
    ranking_split: str = ""
    fractions: tuple[float, ...] = ()
    base: "Run | None" = field(default=None)
    ranking: "Run | None" = field(default=None)
    network: str = "AllConvNet"
    layout: str = ""
    trunk: str = ""
    designs: tuple[tuple[str, UnitDesign], ...] = ()
    test_images: int | None = None
    restoration: str = ""
    features: str = ""
    trained_on: str = ""
    shown: tuple[int, ...] = ()
    batch_statistics: bool = False
    semantics: str = ""
    blur_of_bytes: bool = False
    blob: str = ""
    unlabelled: bool = False
    conditions: tuple[str, ...] = ()
    learned_from: tuple[str, ...] = ()
    side: int = 0
    training_images: int | None = None

    @property
    def from_published(self) -> bool:
        """Whether it starts from a network that others trained to the end."""
        return self.network == "EfficientNet-Lite0" and self.base is None

    @property
    def trains_batchnorm(self) -> bool:
        """Whether the BatchNorm behind corrected filters is trained with their units: not in short trainings."""
        return not self.from_published and self.training_images is None

    @cached_property
    def description(self) -> dict:
        """This run as JSON-ready data; fields at their defaults are left out, so that new fields keep old ids."""
        described = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value == f.default:
                continue
            if isinstance(value, Run):
                value = value.id
            elif isinstance(value, (Schedule, Selection, UnitDesign)):
                value = _without_defaults(value)
            elif f.name == "designs":
                value = {layer: _without_defaults(design) for layer, design in value}
            described[f.name] = value
        return json.loads(json.dumps(described))

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits."""
        canonical = json.dumps(self.description, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def needs(self) -> tuple["Run", ...]:
        """The runs that have to be there first."""
        return tuple(run for run in (self.base, self.ranking) if run is not None)

    def __str__(self) -> str:
        condition = f" {self.distortion}" if self.distortion else ""
        if self.blob:
            return f"{self.method}{condition} of the authors"
        width = f", width {self.width}" if self.width else ""
        return f"{self.method}{condition} ({self.dataset}{width}, seed {self.seed})"


def _without_defaults(value: Schedule | Selection | UnitDesign) -> dict:
    return {k: v for k, v in asdict(value).items() if v != type(value).__dataclass_fields__[k].default}
