"""Golden files of amdegroot/ssd.pytorch: `python tests/origins/make/ssd_pytorch.py CHECKOUT`, with OpenCV 4 installed.

Checked at commit 5b0b77f. Its `data` package opens a file in the home folder on import, so a stand-in for COCO's part
is put in its place; the network is built for training, whose outputs are the raw ones.
"""

import sys
import types

import cv2
import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noisy_state
from torch import nn

SCALE = 50.0  # of pixels less their mean


def main() -> None:
    check_out(__doc__)
    sys.modules["data.coco"] = types.SimpleNamespace(
        COCODetection=None, COCOAnnotationTransform=None, COCO_CLASSES=(), COCO_ROOT="", get_label_map=None
    )
    for name, origin, file, classes, clip, blue_first in (
        ("ssd_pytorch-voc", None, "ssd300_mAP_77.43_v2.pth", 21, True, False),
        ("ssd_pytorch-coco", None, "mine.pth", 81, True, False),
        ("ssd_pytorch-caffe", None, "ssd_300_VOC0712.pth", 21, False, True),
    ):
        write(name, golden(origin, file, classes, clip, blue_first))


def layout(net: nn.Module, classes: int) -> dict[str, tuple[list[int], Fill]]:
    tensors = layout_of(net)
    tensors["vgg.0.weight"] = (tensors["vgg.0.weight"][0], ["normal", 0.27 / SCALE])
    for level, boxes in enumerate((4, 6, 6, 6, 4, 4)):
        for head, std in (("conf", 1.6), ("loc", 0.5)):
            shape, rule = tensors[f"{head}.{level}.weight"]
            scale = 0.15 if level == 0 else 1.0  # the norm's 20
            tensors[f"{head}.{level}.weight"] = (shape, ["normal", std * scale * rule[1]])
        shape = tensors[f"conf.{level}.bias"][0]
        tensors[f"conf.{level}.bias"] = (shape, ["class_bias", boxes, False, 0, 7.0])
    return tensors


@torch.no_grad()
def golden(origin: str | None, file: str, classes: int, clip: bool, blue_first: bool) -> Golden:
    import data
    from layers.functions import Detect, PriorBox
    from ssd import build_ssd

    config = {**(data.voc if classes == 21 else data.coco), "clip": clip}
    net = build_ssd("train", 300, classes)
    tensors = layout(net, classes)
    net.load_state_dict(noisy_state(tensors))
    priors = PriorBox(config).forward()
    batch = made_batch(300, 300, SCALE)
    loc, conf, _ = net(batch.flip(1) if blue_first else batch)
    boxes, labels, scores = detections(net, Detect(classes, 0, 200, 0.01, 0.45), priors, data, blue_first)
    return Golden(
        file, origin, tensors, (300, 300), SCALE, priors.numpy(), kept(conf[0]), kept(loc[0]), boxes, labels, scores
    )


def detections(
    net: nn.Module, detect: object, priors: torch.Tensor, data: types.ModuleType, blue_first: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its eval.py does it: OpenCV's image, resized and less its mean, then red first."""
    image = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR)
    resized, _, _ = data.BaseTransform(300, (104, 117, 123))(image)
    pixels = resized if blue_first else resized[:, :, (2, 1, 0)]
    loc, conf, _ = net(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None])
    found = detect.forward(loc, conf.softmax(dim=-1).flatten(0, 1), priors)[0]  # [C, 200, 5]
    label, rank = (found[:, :, 0] > 0).nonzero(as_tuple=True)
    height, width = image.shape[:2]
    rows = found[label, rank].numpy()
    return rows[:, 1:] * np.float32([width, height, width, height]), label.numpy(), rows[:, 0]


if __name__ == "__main__":
    main()
