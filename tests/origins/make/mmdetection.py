"""Golden files of open-mmlab/mmdetection: `python tests/origins/make/mmdetection.py PACKAGES`, where PACKAGES is the
folder (site-packages) with mmdet 3.3.0, mmengine 0.10.7, mmcv-lite 2.1.0, OpenCV 4 and what they need (addict, yapf,
termcolor, rich, shapely, matplotlib, scipy, terminaltables).

The light mmcv lacks the compiled operators. Of these an SSD needs one, plain suppression: a stand-in for the module
`mmcv._ext` takes torchvision's. All else, mmcv's `batched_nms` around it included, is the original.
"""

import importlib.machinery
import re
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from common import check_out, kept, write
from goldens import PICTURE, Fill, Golden, layout_of, made_batch, noisy_state
from torch import Tensor, nn

Layout = dict[str, tuple[list[int], Fill]]
BOXES_300, BOXES_512 = (4, 6, 6, 6, 4, 4), (4, 6, 6, 6, 6, 4, 4)
OLD_NAMES = {  # of version 2.13 and before, by those since
    r"neck\.l2_norm\.(.+)": lambda found: f"backbone.l2_norm.{found[1]}",
    r"neck\.extra_layers\.(\d)\.(\d)\.conv\.(.+)": lambda found: (
        f"backbone.extra.{2 * int(found[1]) + int(found[2])}.{found[3]}"
    ),
    r"bbox_head\.(cls|reg)_convs\.(\d)\.0\.(.+)": lambda found: f"bbox_head.{found[1]}_convs.{found[2]}.{found[3]}",
}


class Case(NamedTuple):
    """A published config, and how its network is filled.

    Attributes:
        config: its file.
        file: what its checkpoint is called.
        boxes: of a cell, level by level.
        gains: of class heads, level by level; where it is small, all is background.
        background: bias of that class.
        scale: of a normalised image.
        first_gain: of the box head of the first level.
        wild: a level whose boxes are, some beyond the coder's limits, some outside of the image, and the gain of its
            box head.
        larger: at most so much is added to what box heads say, where boxes are to suppress one another.
        meta: what lies beside the weights: all that version 3 writes, or version 2, or the names of the classes alone.
        origin: what has to be said where that does not tell.
        own_classes: names of other classes than the config's.
        old: whether the tensors have the names of before 2.14.
    """

    config: str
    file: str
    boxes: tuple[int, ...]
    gains: tuple[float, ...]
    background: float
    scale: float = 50.0  # pixels less their mean
    first_gain: float = 0.7  # behind the norm maps are small
    wild: tuple[int, float] = (2, 6.0)
    larger: float = 0.0
    meta: str = "version 3"
    origin: str | None = None
    own_classes: tuple[str, ...] = ()
    old: bool = False


CASES = {
    "mmdetection-ssd300_coco": Case(
        "ssd/ssd300_coco.py",
        "ssd300_coco_20210803_015428-d231a06e.pth",
        BOXES_300,
        (2.2, 0.7, 0.8, 1.0, 1.2, 3.0),
        13.0,
    ),
    "mmdetection-ssd300_voc": Case(
        "pascal_voc/ssd300_voc0712.py",
        "ssd300_voc0712_20220320_194658-17edda1b.pth",
        BOXES_300,
        (2.2, 0.7, 0.8, 1.0, 1.2, 3.0),
        12.0,
        meta="version 2",
    ),
    "mmdetection-ssd512_coco": Case(
        "ssd/ssd512_coco.py",
        "ssd512_coco_20210803_022849-0a47a1ca.pth",
        BOXES_512,
        (2.2, 0.7, 0.8, 1.0, 1.2, 1.5, 3.0),
        14.0,
    ),
    "mmdetection-ssd512_voc": Case(
        "pascal_voc/ssd512_voc0712.py",
        "ssd512_voc0712_20220320_194717-03cefefe.pth",
        BOXES_512,
        (2.2, 0.7, 0.8, 1.0, 1.2, 1.5, 3.0),
        12.5,
        meta="names",
    ),
    "mmdetection-ssdlite320": Case(
        "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py",
        "ssdlite_mobilenetv2_scratch_600e_coco_20210629_110627-974d9307.pth",
        (6,) * 6,
        (0.6, 0.9, 1.5, 2.0, 2.5, 4.0),
        11.5,
        scale=1.0,
        first_gain=0.3,
        wild=(2, 1.0),
    ),
    "mmdetection-old": Case(
        "pascal_voc/ssd300_voc0712.py",
        "mine.pth",
        BOXES_300,
        (0.1, 0.7, 0.1, 0.6, 0.1, 0.1),
        2.5,
        wild=(3, 3.0),
        larger=5.0,
        meta="names",
        origin="mmdetection/ssd300_voc",
        own_classes=("cell",),
        old=True,
    ),
}


def main() -> None:
    packages = check_out(__doc__)
    stand_in()
    for name, case in CASES.items():
        write(name, golden(case, packages / "mmdet" / ".mim"))


def stand_in() -> None:
    """Put a module in the place of mmcv's compiled one, in which only suppression does anything."""

    def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        assert offset == 0
        return torchvision.ops.nms(boxes, scores, iou_threshold)

    class Compiled(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **options: NotImplemented

    module = Compiled("mmcv._ext")
    module.nms, module.__spec__ = nms, importlib.machinery.ModuleSpec("mmcv._ext", None)
    sys.modules["mmcv._ext"] = module


@torch.no_grad()
def golden(case: Case, files: Path) -> Golden:
    from mmdet.apis import init_detector
    from mmengine import Config

    config = Config.fromfile(files / "configs" / case.config)
    if case.own_classes:
        config.model.bbox_head.num_classes = len(case.own_classes)
    net = init_detector(config, None, palette="none", device="cpu")
    net.bbox_head.loss_cls = None  # 3.3.0 asks every head for it, and this one has none
    classes = net.bbox_head.cls_out_channels
    tensors = layout(net, case, classes)
    if case.old:
        tensors = {old_name(name): rule for name, rule in tensors.items()}
        net.load_state_dict(upgraded(noisy_state(tensors), config, files))
    else:
        net.load_state_dict(noisy_state(tensors))
    size = net.cfg.input_size
    scores, deltas = net.bbox_head(net.extract_feat(made_batch(size, size, case.scale)))
    logits = torch.cat([x[0].permute(1, 2, 0).reshape(-1, classes) for x in scores])
    regression = torch.cat([x[0].permute(1, 2, 0).reshape(-1, 4) for x in deltas])
    default_boxes = torch.cat(net.bbox_head.prior_generator.grid_priors([x.shape[-2:] for x in scores], device="cpu"))
    return Golden(
        case.file,
        case.origin,
        tensors,
        (size, size),
        case.scale,
        centre_and_size(default_boxes.numpy().astype(np.float64)) / size,
        kept(torch.cat((logits[:, -1:], logits[:, :-1]), dim=1)),
        kept(regression),
        *detections(net),
        metadata={"content": {"meta": meta(case, config)}},
    )


def layout(net: nn.Module, case: Case, classes: int) -> Layout:
    tensors = layout_of(net)
    first = next(iter(tensors))
    tensors[first] = (tensors[first][0], ["normal", 0.27 / case.scale])
    for level, (boxes, gain) in enumerate(zip(case.boxes, case.gains, strict=True)):
        spread = case.wild[1] if level == case.wild[0] else 0.5 * (case.first_gain if level == 0 else 1.0)
        for head, factor in (("cls", gain), ("reg", spread)):
            last = max(name for name in tensors if name.startswith(f"bbox_head.{head}_convs.{level}."))
            shape, rule = tensors[last]
            tensors[last] = (shape, ["normal", factor * rule[1]])
        bias, background = last.replace("reg", "cls").replace("weight", "bias"), case.background if gain > 0.1 else 20.0
        tensors[bias] = (tensors[bias][0], ["class_bias", boxes, False, classes - 1, background])
        if case.larger:
            bias = last.replace("weight", "bias")
            tensors[bias] = (tensors[bias][0], ["uniform", 0.0, case.larger])
    return tensors


def old_name(name: str) -> str:
    for pattern, made in OLD_NAMES.items():
        if found := re.fullmatch(pattern, name):
            return made(found)
    return name


def upgraded(state: Mapping[str, Tensor], config: Any, files: Path) -> dict[str, Tensor]:
    """What the original's own converter makes of old names."""
    sys.path.insert(0, str(files / "tools" / "model_converters"))
    import upgrade_ssd_version

    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.pth", Path(folder) / "new.pth"
        torch.save({"state_dict": state, "meta": {"config": f"\n{config.pretty_text}"}}, old)
        upgrade_ssd_version.convert(old, new)
        return torch.load(new)["state_dict"]


def detections(net: nn.Module) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its users get them: from the file of the picture through its own loading, resizing and suppression."""
    from mmdet.apis import inference_detector

    found = inference_detector(net, str(PICTURE)).pred_instances
    return found.bboxes.numpy(), found.labels.numpy() + 1, found.scores.numpy()


def meta(case: Case, config: Any) -> dict[str, Any]:
    """As mmengine's runner writes it, as mmdetection did before, or the names alone."""
    from mmdet.datasets import CocoDataset, VOCDataset

    known = (VOCDataset if "VOC" in config.dataset_type else CocoDataset).METAINFO
    names = list(case.own_classes or known["classes"])
    if case.meta == "version 3":
        dataset = {"classes": names, "palette": known["palette"]}
        return {"epoch": 24, "cfg": config.pretty_text, "mmengine_version": "0.10.7", "dataset_meta": dataset}
    if case.meta == "version 2":
        return {"epoch": 24, "mmdet_version": "2.23.0", "config": config.pretty_text, "CLASSES": names}
    return {"CLASSES": names}


def centre_and_size(corners: np.ndarray) -> np.ndarray:
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)


if __name__ == "__main__":
    main()
