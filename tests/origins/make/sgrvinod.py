"""Golden file of sgrvinod's tutorial: `python tests/origins/make/sgrvinod.py CHECKOUT`.

Checked at commit 5d5b759. Its constructor fetches weights of ImageNet, which are left out.
"""

import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noisy_state
from PIL import Image
from torch import Tensor, nn

CLASSES = 21
SCALE = 1.0  # of normalised pixels
SIDES = {"conv4_3": 38, "conv7": 19, "conv8_2": 10, "conv9_2": 5, "conv10_2": 3, "conv11_2": 1}
# Boxes of a cell: the original's are (1, between, 2, 3, 1/2, .333), detzoo's (1, between, 2, 1/2, 3, .333).
ORDERS = {"conv4_3": (0, 1, 2, 3), "conv7": (0, 1, 2, 4, 3, 5), "conv8_2": (0, 1, 2, 4, 3, 5)}
ORDERS |= {"conv9_2": (0, 1, 2, 4, 3, 5), "conv10_2": (0, 1, 2, 3), "conv11_2": (0, 1, 2, 3)}
# So that scores spread: how much class logits differ, relative to the maps, and what background is ahead by.
STDS = {"conv4_3": 1.44, "conv7": 3.2, "conv8_2": 1.6, "conv9_2": 1.6, "conv10_2": 3.2, "conv11_2": 3.2}
BACKGROUND = 24.0


def main() -> None:
    check_out(__doc__)
    write("sgrvinod", golden())


def layout(net: nn.Module) -> dict[str, tuple[list[int], Fill]]:
    tensors = layout_of(net)
    for level, order in ORDERS.items():
        for head, std in (("cl", STDS[level]), ("loc", 0.2)):
            shape, rule = tensors[f"pred_convs.{head}_{level}.weight"]
            tensors[f"pred_convs.{head}_{level}.weight"] = (shape, ["normal", std * rule[1]])
        shape = tensors[f"pred_convs.cl_{level}.bias"][0]
        tensors[f"pred_convs.cl_{level}.bias"] = (shape, ["class_bias", len(order), False, 0, BACKGROUND])
    return tensors


def in_our_order() -> Tensor:
    """For each default box of detzoo's, the number of the original's."""
    levels, start = [], 0
    for level, side in SIDES.items():
        own = torch.arange(side * side * len(ORDERS[level])).view(side * side, -1) + start
        levels.append(own[:, list(ORDERS[level])].flatten())
        start += own.numel()
    return torch.cat(levels)


@torch.no_grad()
def golden() -> Golden:
    import model

    model.VGGBase.load_pretrained_layers = lambda self: None
    net = model.SSD300(CLASSES).eval()
    tensors, order = layout(net), in_our_order()
    net.load_state_dict(noisy_state(tensors))
    locs, scores = net(made_batch(300, 300, SCALE))
    priors = net.priors_cxcy[order].numpy()
    return Golden(
        "checkpoint_ssd300.pth.tar",
        None,
        tensors,
        (300, 300),
        SCALE,
        priors,
        kept(scores[0][order]),
        kept(locs[0][order]),
        *detections(net),
    )


def detections(net: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its eval.py does it, in pixels as in its detect.py."""
    from utils import transform

    image = Image.fromarray(picture())
    pixels, *_ = transform(image, torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), split="TEST")
    found = net.detect_objects(*net(pixels[None]), min_score=0.01, max_overlap=0.45, top_k=200)
    boxes, labels, scores = (tensors[0] for tensors in found)
    size = torch.tensor([image.width, image.height, image.width, image.height])
    return (boxes * size).numpy(), labels.numpy(), scores.numpy()


if __name__ == "__main__":
    main()
