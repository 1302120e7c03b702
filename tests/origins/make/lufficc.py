"""Golden files of lufficc/SSD: `python tests/origins/make/lufficc.py CHECKOUT`, with OpenCV 4 and yacs installed.

Checked at commit 68dc0a2. It compares the version of torchvision as text and leaves where that is 0.29, so it is told
another one while it is imported. Weights are scaled to what the picture makes of them: behind every convolution,
numbers are about as large, through networks of any depth.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noise, noisy_state
from torch import nn

SCALE = 50.0  # of pixels less their mean
HEADS = {"cls_headers": 1.5, "reg_headers": 0.6}  # standard deviation of what comes out

Tensors = dict[str, tuple[list[int], Fill]]


class Case(NamedTuple):
    """A golden file: the origin's config, the name of the checkpoint, the bias of the background's logits."""

    config: str
    file: str
    background: float
    origin: str | None = None
    changes: tuple[Any, ...] = ()  # of the config


V2 = "mobilenet_v2_ssd320_voc0712"
BEFORE_MARCH_2020 = ("MODEL.PRIORS.STRIDES", [16, 32, 64, 100, 150, 300])  # commit c16e459 changed them
CASES = {
    "lufficc-vgg_ssd300_voc": Case("vgg_ssd300_voc0712", "vgg_ssd300_voc0712.pth", 10.0),
    "lufficc-vgg_ssd300_coco": Case("vgg_ssd300_coco_trainval35k", "mine.pth", 11.0),
    "lufficc-vgg_ssd512_voc": Case("vgg_ssd512_voc0712", "model_final.pth", 11.0),
    "lufficc-vgg_ssd512_coco": Case("vgg_ssd512_coco_trainval35k", "vgg_ssd512_coco_trainval35k.pth", 12.0),
    "lufficc-mobilenet_v2_v1": Case(V2, f"{V2}.pth", 8.0, changes=BEFORE_MARCH_2020),
    "lufficc-mobilenet_v2_v2": Case(V2, "mine.pth", 10.0, origin=f"lufficc/{V2}_v2"),
    "lufficc-mobilenet_v3": Case("mobilenet_v3_ssd320_voc0712", "mine.pth", 10.5),
    "lufficc-efficient_net_b3": Case("efficient_net_b3_ssd300_voc0712", "mine.pth", 11.5),
}


def main() -> None:
    folder = check_out(__doc__)
    version, torchvision.__version__ = torchvision.__version__, "0.9.9"
    import ssd.utils.nms  # noqa: F401

    torchvision.__version__ = version
    for name, case in CASES.items():
        write(name, golden(folder, case))


def config_of(folder: Path, case: Case) -> Any:
    from ssd.config import cfg

    cfg = cfg.clone()
    cfg.merge_from_file(str(folder / "configs" / f"{case.config}.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAINED", False, *case.changes])
    return cfg


def fill(net: nn.Module, cfg: Any, background: float) -> Tensors:
    """Give the network its weights, and say which."""
    tensors = layout_of(net)
    boxes = cfg.MODEL.PRIORS.BOXES_PER_LOCATION
    for name, (shape, _) in tensors.items():
        if ".cls_headers." in name and shape == [boxes[_level(name)] * cfg.MODEL.NUM_CLASSES]:
            tensors[name] = (shape, ["class_bias", boxes[_level(name)], False, 0, background])
    net.load_state_dict(noisy_state(tensors))

    def scale(name: str, layer: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        size = inputs[0].square().mean().sqrt().item() * layer.weight[0].numel() ** 0.5
        head = next((gain for part, gain in HEADS.items() if part in name), 1.0)
        gain = head if layer.bias is not None and getattr(layer, "groups", 1) == 1 else 1.0
        rule = ["normal", float(f"{gain / size:.4g}")]
        tensors[f"{name}.weight"] = (tensors[f"{name}.weight"][0], rule)
        layer.weight.copy_(noise(f"{name}.weight", layer.weight.shape, rule))

    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs, name=name: scale(name, layer, inputs))
        for name, layer in layers.items()
    ]
    raw(net, picture_batch(cfg))
    for hook in hooks:
        hook.remove()
    return tensors


def _level(name: str) -> int:
    """Of box_head.predictor.cls_headers.LEVEL.bias."""
    return int(name.split(".")[3])


def raw(net: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and deltas."""
    return net.box_head.predictor(net.backbone(batch))


@torch.no_grad()
def golden(folder: Path, case: Case) -> Golden:
    from ssd.modeling.anchors.prior_box import PriorBox
    from ssd.modeling.detector import build_detection_model

    cfg = config_of(folder, case)
    net = build_detection_model(cfg).eval()
    tensors = fill(net, cfg, case.background)
    side = cfg.INPUT.IMAGE_SIZE
    logits, deltas = raw(net, made_batch(side, side, SCALE))
    boxes, labels, scores = detections(net, cfg)
    return Golden(
        case.file,
        case.origin,
        tensors,
        (side, side),
        SCALE,
        PriorBox(cfg)().numpy(),
        kept(logits[0]),
        kept(deltas[0]),
        boxes,
        labels,
        scores,
    )


def detections(net: nn.Module, cfg: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its demo.py does it."""
    height, width = picture().shape[:2]
    found = net(picture_batch(cfg))[0].resize((width, height)).numpy()
    return found["boxes"], found["labels"], found["scores"]


def picture_batch(cfg: Any) -> torch.Tensor:
    from ssd.data.transforms import build_transforms

    return build_transforms(cfg, is_train=False)(picture())[0][None]


if __name__ == "__main__":
    main()
