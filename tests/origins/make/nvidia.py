"""Golden files of NVIDIA's SSD300: `python tests/origins/make/nvidia.py CHECKOUT/PyTorch/Detection/SSD`.

Checked at commit 729963d. Its trunks come with weights of ImageNet, which are left out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noisy_state
from PIL import Image
from torch import Tensor, nn
from torchvision.models import resnet

SCALE = 1.0  # of normalised pixels
LAST_OF_BLOCK = {resnet.BasicBlock: ".bn2.weight", resnet.Bottleneck: ".bn3.weight"}
LEVELS = ((38, 4), (19, 6), (10, 6), (5, 6), (3, 4), (1, 4))  # cells a side, boxes of a cell


class Spread(NamedTuple):
    """How far outputs of random heads spread, relative to their maps: class logits by level, deltas; and what the
    background is ahead by.
    """

    classes: tuple[float, ...]
    deltas: float
    background: float


TRUNKS = {
    "resnet18": Spread((0.16, 3.2, 1.6, 1.6, 1.6, 3.2), 0.0375, 20.0),  # more detections than an image may have
    "resnet34": Spread((0.16, 3.2, 1.6, 1.6, 1.6, 3.2), 0.0375, 20.0),
    "resnet50": Spread((0.48, 1.28, 1.6, 1.6, 1.6, 3.2), 0.125, 24.0),  # fewer, down to the score threshold
    **dict.fromkeys(("resnet101", "resnet152"), Spread((0.08, 0.2, 0.25, 0.25, 0.25, 0.5), 0.02, 8.0)),
}


def main() -> None:
    check_out(__doc__)
    for name in TRUNKS:
        setattr(resnet, name, without_weights(getattr(resnet, name)))
    for trunk, spread in TRUNKS.items():
        write(f"nvidia-{trunk}", golden(trunk, spread))


def without_weights(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda weights: build(weights=None)


def layout(net: nn.Module, spread: Spread) -> dict[str, tuple[list[int], Fill]]:
    tensors = layout_of(net)
    for name in tensors:
        if name.endswith(LAST_OF_BLOCK[type(net.feature_extractor.feature_extractor[4][0])]):
            tensors[name] = (tensors[name][0], ["uniform", 0.1, 0.5])  # or else maps grow from block to block
    for level, (_, boxes) in enumerate(LEVELS):
        for head, std in (("conf", spread.classes[level]), ("loc", spread.deltas)):
            shape, rule = tensors[f"{head}.{level}.weight"]
            tensors[f"{head}.{level}.weight"] = (shape, ["normal", std * rule[1]])
        shape = tensors[f"conf.{level}.bias"][0]
        tensors[f"conf.{level}.bias"] = (shape, ["class_bias", boxes, True, 0, spread.background])
    return tensors


def in_our_order() -> Tensor:
    """For each default box of detzoo's, by level, cell and box of the cell, the number of the original's, by level, box
    of the cell and cell.
    """
    levels, start = [], 0
    for side, boxes in LEVELS:
        own = torch.arange(boxes * side * side).view(boxes, side * side) + start
        levels.append(own.t().flatten())
        start += own.numel()
    return torch.cat(levels)


@torch.no_grad()
def golden(trunk: str, spread: Spread) -> Golden:
    from ssd.model import SSD300, ResNet
    from ssd.utils import dboxes300_coco

    net = SSD300(ResNet(trunk)).eval()
    tensors, order = layout(net, spread), in_our_order()
    net.load_state_dict(noisy_state(tensors))
    loc, conf = net(made_batch(300, 300, SCALE))
    boxes = dboxes300_coco()(order="xywh")[order].numpy()
    return Golden(
        "epoch_64.pt",
        None,
        tensors,
        (300, 300),
        SCALE,
        boxes,
        kept(conf[0].t()[order]),
        kept(loc[0].t()[order]),
        *detections(net),
    )


def detections(net: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its evaluate.py does it."""
    from ssd.utils import Encoder, SSDTransformer, dboxes300_coco

    image = Image.fromarray(picture())
    pixels = SSDTransformer(dboxes300_coco(), (300, 300), val=True).trans_val(image)
    found = Encoder(dboxes300_coco()).decode_batch(*net(pixels[None]), 0.50, 200)[0]
    boxes, labels, scores = (tensor.numpy() for tensor in found)
    return boxes * np.float32([image.width, image.height] * 2), labels, scores


if __name__ == "__main__":
    main()
