"""The runs of the neighbouring studies: the gate of image quality. Profile small alone has them."""

from dclib import datasets
from dclib.experiments import efficientnet
from dclib.experiments.profiles import Profile, StandIn
from dclib.experiments.run import Run
from dclib.pretrained import EFFICIENTNET_SHA256
from dclib.training import Schedule

#: What the gate learns from, and what else it is tried on.
SEEN = ("sharp", "gaussian 2", "gaussian 4", "gaussian 6", "noise 20", "noise 60", "noise 100", "fgsm 8")
UNSEEN = ("defocus 4", "motion 4 45", "shake 4 1", "jpeg 5", "pixels 8", "contrast 0.1", "salt 0.1", "upside down", "fgsm 2",
          "pgd 1", "pgd 2", "pgd 4", "pgd 8")
#: Of 50 validation images a class the gate learns from 20, and 15 sharp ones set its threshold; 15 are for the test.
SHARES = (0.4, 0.3)
#: The student's training.
STUDENT = Schedule(600, 64, 0.003, (), 600, shape="one-cycle", warm_up=100, augmentation="none")


def gate(seed: int = 0) -> Run:
    """A gate before EfficientNet-Lite0 (Feng et al., 2020): features with a classifier, and a distilled student."""
    dataset = efficientnet.DATASET
    return Run("gate", "Gate", dataset, datasets.fingerprint_of(dataset), 1000, 0, seed, network="EfficientNet-Lite0",
               trunk=EFFICIENTNET_SHA256, conditions=SEEN + UNSEEN, learned_from=SEEN, fractions=SHARES, schedule=STUDENT)


def gate_rows(p: Profile, seeds: tuple[int, ...]) -> dict[str, list[Run]]:
    """One gate, with both of its detectors."""
    return {"Gate": [gate(seeds[0])]} if p.name == "small" else {}


def lite0_for_resnet(p: Profile) -> tuple[StandIn, ...]:
    """What the gate stands before, and how many images it has."""
    return (StandIn("EfficientNet-Lite0 instead of ResNet", ", on validation images of 20 of ImageNet's 1,000 classes"),)
