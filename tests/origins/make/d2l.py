"""Golden files of Dive into Deep Learning's TinySSD: `python tests/origins/make/d2l.py CHECKOUT` of
github.com/d2l-ai/d2l-en, with OpenCV 4 installed.

Checked at commit 23d7a5a. The network is the PyTorch code of the chapter's cells, of which definitions alone are run,
and the boxes are those of the functions that the book keeps in `d2l/torch.py`, whose other imports are not needed. The
book resizes images in its MXNet cells only, by OpenCV.
"""

import ast
import re
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noisy_state
from torch import nn

SIZE, SCALE = 256, 90.0  # of bytes
FUNCTIONS = (
    "box_corner_to_center",
    "box_center_to_corner",
    "multibox_prior",
    "box_iou",
    "offset_inverse",
    "nms",
    "multibox_detection",
)
NUMBERS = ("sizes", "ratios", "num_anchors")


def main() -> None:
    folder = check_out(__doc__)
    for name, classes in (("d2l-banana", 1), ("d2l-four", 4)):
        write(name, golden(book(folder), classes))


def book(folder: Path) -> dict[str, Any]:
    """What the book defines, by name."""
    names = types.SimpleNamespace(tensor=torch.tensor, stack=torch.stack, concat=torch.cat, exp=torch.exp)
    scope = {"torch": torch, "nn": nn, "F": nn.functional, "d2l": names, "device": torch.device("cpu")}
    kept_functions = (folder / "d2l" / "torch.py").read_text()
    wanted = [node for node in ast.parse(kept_functions).body if getattr(node, "name", "") in FUNCTIONS]
    run(wanted, scope)
    for name in FUNCTIONS:
        setattr(names, name, scope[name])
    chapter = (folder / "chapter_computer-vision" / "ssd.md").read_text()
    for cell in re.findall(r"```\{\.python \.input\}\n(.*?)```", chapter, re.DOTALL):
        if "#@tab pytorch" in cell or "#@tab all" in cell:
            lines = [line for line in cell.splitlines() if not line.startswith("%")]
            run([node for node in ast.parse("\n".join(lines)).body if defines(node)], scope)
    return scope


def defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return True
    if not isinstance(node, ast.Assign):
        return False
    return {name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)} <= set(NUMBERS)


def run(nodes: list[ast.stmt], scope: dict[str, Any]) -> None:
    exec(compile(ast.Module(nodes, type_ignores=[]), "the book", "exec"), scope)


def layout(net: nn.Module, classes: int) -> dict[str, tuple[list[int], Fill]]:
    tensors = layout_of(net)
    shape, rule = tensors["blk_0.0.0.weight"]
    tensors["blk_0.0.0.weight"] = (shape, ["normal", rule[1] / SCALE])
    for level in range(5):
        for head, spread in (("cls", 1.5), ("bbox", 0.5)):
            shape, rule = tensors[f"{head}_{level}.weight"]
            tensors[f"{head}_{level}.weight"] = (shape, ["normal", spread * rule[1]])
        shape = tensors[f"cls_{level}.bias"][0]
        tensors[f"cls_{level}.bias"] = (shape, ["class_bias", shape[0] // (classes + 1), False, 0, 8.0])
    return tensors


@torch.no_grad()
def golden(scope: dict[str, Any], classes: int) -> Golden:
    net = scope["net"] = scope["TinySSD"](num_classes=classes).eval()
    tensors = layout(net, classes)
    net.load_state_dict(noisy_state(tensors))
    anchors, logits, deltas = net(made_batch(SIZE, SIZE, SCALE))
    image = picture()
    resized = torch.from_numpy(cv2.resize(image, (SIZE, SIZE)))
    found = scope["predict"](resized.permute(2, 0, 1)[None].float()).numpy()  # [N, 6]: class, score, box
    height, width = image.shape[:2]
    return Golden(
        "tiny.pt",
        None,
        tensors,
        (SIZE, SIZE),
        SCALE,
        scope["box_corner_to_center"](anchors[0]).numpy(),
        kept(logits[0]),
        kept(deltas[0].view(-1, 4)),
        found[:, 2:] * np.float32([width, height, width, height]),
        found[:, 0].astype(np.int64) + 1,
        found[:, 1],
    )


if __name__ == "__main__":
    main()
