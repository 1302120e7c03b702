"""Weights for a detector that has none, with which it answers as a trained one does: for comparing and for timing.

A network as initialised says nearly the same of every default box, and either all of them are candidates or none: its
suppression takes minutes or no time, and the smallest rounding decides what is left.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..components.preprocess import ToRGB
from ..data import SyntheticDataset
from ..models import SSD

PICTURES = 12  # for batch statistics: a map of one cell has one sample of each
SCALE = 0.5  # of normalised maps
BRANCH = 0.2  # of what a residual block adds: drawn layers multiply rounding errors, and a hundred of them too much
CANDIDATES = 500  # above the threshold in an image; published detectors have some hundred to some thousand
# Which norm of a residual block is the last before adding; behind it a ResNet's may have one of the other summand.
RESIDUAL = {BasicBlock: 1, Bottleneck: 2, InvertedResidual: -1}
LOGIT_SPREAD = 2.0
DELTA_SPREAD = 1.5  # a tenth of a box with the usual weights, and a third of its size
SHIFTS = (-40.0, 40.0)  # of the background's logits, between which the right one is sought


@torch.no_grad()
def look_trained(
    model: SSD, candidates: int = CANDIDATES, seed: int = 0, images: Sequence[Tensor] | None = None
) -> SSD:
    """The model itself, in eval mode, with drawn weights.

    Args:
        model: with a dense head, as all of `detzoo.components.HEADS` are.
        candidates: pairs of default box and class above its score threshold, in an image on average.
        seed: another one gives other weights.
        images: [3, H, W] on which it is to look so; drawn ones by default.
    """
    _draw(model, torch.Generator().manual_seed(seed))
    batch = model.preprocess(drawn_pictures(PICTURES, tuple(model.preprocess.size)) if images is None else list(images))
    _normalise(model.eval(), batch)
    maps = model.neck(model.backbone(batch))
    for predictors, spread in ((model.head.classification, LOGIT_SPREAD), (model.head.regression, DELTA_SPREAD)):
        for predictor, x in zip(predictors, maps, strict=True):
            _last(predictor).weight.mul_(spread / predictor(x).std())
    shift = _shift(model, model.predict(batch).logits, candidates * len(batch))
    for predictor in model.head.classification:
        bias = _last(predictor).bias.view(-1, model.head.num_classes)
        bias[:, 0] += shift
        bias[:, 1:] -= shift
    return model


def _draw(model: SSD, generator: torch.Generator) -> None:
    """Weights that carry what they are given through all layers (He et al., arXiv:1502.01852), and not, as most drawn
    ones, rounding errors much further than that: those of a trained network stay at six digits.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            if layer.groups > 1:  # neighbours are alike: a kernel of differences leaves little but what was rounded
                layer.weight.add_(layer.weight.abs() / 2)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
            nn.init.constant_(layer.weight, SCALE)
    for layer in model.modules():
        if isinstance(layer, tuple(RESIDUAL)):
            norms = [inner for inner in layer.modules() if isinstance(inner, nn.BatchNorm2d)]
            norms[RESIDUAL[type(layer)]].weight.mul_(BRANCH)


def _normalise(model: SSD, batch: Tensor) -> None:
    """Statistics of a batch for all batch norms, each from what those before it make of it.

    No channel is taken to vary less than the others, or than its mean: dividing by next to nothing, as on maps of a few
    cells, makes rounding errors large.
    """

    def take(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        layer.running_mean.copy_(mean)
        least = variance.mean() + mean.square()
        layer.running_var.copy_(torch.maximum(variance, least))

    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    handles = [layer.register_forward_pre_hook(take) for layer in norms]
    model.predict(batch)
    for handle in handles:
        handle.remove()


def drawn_pictures(count: int, size: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Pictures of shapes, [3, H, W] bytes each."""
    pictures = SyntheticDataset(count, seed, size=size)
    return [ToRGB()(pictures.open_image(index)).contiguous() for index in range(count)]


def _last(predictor: nn.Module) -> nn.Conv2d:
    return [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]


def _shift(model: SSD, logits: Tensor, wanted: int) -> float:
    """How much background is to be preferred for so many scores above the threshold, by bisection."""
    low, high = SHIFTS
    for _ in range(30):
        middle = (low + high) / 2
        shifted = torch.cat((logits[..., :1] + middle, logits[..., 1:] - middle), dim=-1)
        many = int((model.loss.scores(shifted) > model.postprocess.score_threshold).sum()) > wanted
        low, high = (middle, high) if many else (low, middle)
    return high
