"""Greedy suppression as one step of a graph, whose result has a fixed shape.

The number of survivors depends on the data, and engines that plan their memory dislike that; so it is scattered back
into a mask at once. Shape letters: B images, K candidates of each, best first.
"""

import torch
import torchvision
from torch import Tensor


def keep_by_offsets(boxes: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    """Which candidates survive, [B, K] bool, by one `torchvision.ops.nms` over all images and groups.

    Groups are put side by side, far enough to never meet. In float32 the distance would cost the boxes their fraction
    (24 bits, of which 8 images of 90 classes of 512 pixels take 19), and overlaps near the threshold would change
    sides; in float64 they keep the 24 bits they have.

    Args:
        boxes: [B, K, 4] xyxy.
        groups: [B, K], from 0 to `num_groups` - 1; -1 for rows that are no candidates, and do not survive.
        iou_threshold: overlap above which the worse of two boxes of a group goes.
        num_groups: how many groups an image has.
    """
    images, count = groups.shape
    there = groups >= 0
    nowhere = torch.tensor((0.0, 0.0, 1.0, 1.0), dtype=torch.float64, device=boxes.device)
    # rows that are no candidates are one box over and over, of which the first does away with the others
    placed = torch.where(there[..., None], boxes.double(), nowhere)
    number = torch.arange(images, device=boxes.device)[:, None] * (num_groups + 1) + groups + 1
    spread = placed.amax() - placed.amin() + 1
    placed = (placed + (number * spread)[..., None]).flatten(0, 1)
    # and two that always survive: a tracer takes it that two do, and its graph would refuse an image with nothing in it
    apart = placed.amin() - torch.tensor(((3.0, 3.0, 2.0, 2.0), (6.0, 6.0, 5.0, 5.0)), dtype=torch.float64)
    worth = -torch.arange(images * count + 2, device=boxes.device, dtype=torch.float64)
    survivors = torchvision.ops.nms(torch.cat((placed, apart.to(boxes.device))), worth, iou_threshold)
    mask = torch.zeros(images * count + 2, dtype=torch.bool, device=boxes.device)
    return mask.index_fill(0, survivors, True)[: images * count].view(images, count) & there


@torch.library.custom_op("detzoo::keep", mutates_args=())
def keep(boxes: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    """`keep_by_offsets` as one operator, for engines that have a suppression by groups of their own."""
    return keep_by_offsets(boxes, groups, iou_threshold, num_groups)


@keep.register_fake
def _(boxes: Tensor, groups: Tensor, iou_threshold: float, num_groups: int) -> Tensor:
    return torch.empty_like(groups, dtype=torch.bool)
