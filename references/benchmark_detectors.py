"""One detector twice, torchvision's and ours: the same weights, drawn so that scores look like a trained model's."""

import torchvision.models.detection as theirs
from torch import Tensor, nn

from detzoo.deploy.look_trained import CANDIDATES, drawn_pictures, look_trained
from detzoo.importers import torchvision
from detzoo.models import MODELS, SSD, get_model

MODELS_OF_BOTH = {name: getattr(theirs, name) for name in MODELS if hasattr(theirs, name)}
PHOTOGRAPH = (480, 640)  # height, width
CLASSES = 91  # of COCO
DRAWN_ON = 8  # photographs, the first of which are timed

__all__ = ["CANDIDATES", "MODELS_OF_BOTH", "both", "drawn", "photographs"]


def photographs(count: int, seed: int = 0) -> list[Tensor]:
    """Pictures of shapes, [3, 480, 640] bytes each."""
    return drawn_pictures(count, PHOTOGRAPH, seed)


def drawn(name: str, candidates: int = CANDIDATES) -> SSD:
    """A member of the zoo in eval mode, with drawn weights."""
    model = get_model(name, num_classes=CLASSES)
    return look_trained(model, candidates, images=photographs(DRAWN_ON)).requires_grad_(False)


def both(name: str, candidates: int = CANDIDATES) -> tuple[nn.Module, SSD]:
    """torchvision's detector and ours, in eval mode."""
    model = drawn(name, candidates)
    reference = MODELS_OF_BOTH[name](weights=None, weights_backbone=None, num_classes=CLASSES)
    reference.load_state_dict(torchvision.export(model.state_dict()))
    return reference.eval(), model
