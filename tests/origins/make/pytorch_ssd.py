"""Golden files of qfgaohao/pytorch-ssd: `python tests/origins/make/pytorch_ssd.py CHECKOUT`, with OpenCV 4 installed.

Checked at commit 7a839cb. A check-out of 780b58a~1 gives the one of VGG-16 with its L2 norm, and one of
jetson-inference's fork (github.com/dusty-nv/pytorch-ssd) that has `set_image_size` in its configuration of MobileNetV1
gives that of 512 pixels.
"""

import contextlib
import importlib
import io
from typing import NamedTuple

import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, layout_of, made_batch, noisy_state
from torch import nn

PIXELS, UNITS = 50.0, 0.6  # scale of what goes in: pixels less their mean, and these divided by 128


class Case(NamedTuple):
    """A network of the original: its name there, the file that it is made to be, how its functions are called."""

    name: str
    file: str
    classes: int
    module: str
    words: str
    scale: float
    last: int  # layer of a head that predicts
    spread: float  # of the logits
    background: float  # added to its logit
    origin: str | None = None
    size: int = 300


CASES = (
    Case("vgg16-ssd", "vgg16-ssd-mp-0_7726.pth", 21, "vgg_ssd", "vgg_ssd", PIXELS, 0, 1.0, 12.0),
    Case("mb1-ssd", "mobilenet-v1-ssd-mp-0_675.pth", 21, "mobilenetv1_ssd", "mobilenetv1_ssd", UNITS, 0, 1.8, 9.0),
    Case("mb1-ssd-lite", "mine.pth", 9, "mobilenetv1_ssd_lite", "mobilenetv1_ssd_lite", UNITS, 2, 1.3, 8.0),
    Case(
        "mb2-ssd-lite",
        "mb2-ssd-lite-mp-0_686.pth",
        21,
        "mobilenet_v2_ssd_lite",
        "mobilenetv2_ssd_lite",
        UNITS,
        3,
        1.0,
        12.0,
    ),
    Case("sq-ssd-lite", "mine.pth", 4, "squeezenet_ssd_lite", "squeezenet_ssd_lite", UNITS, 2, 0.9, 7.0),
)
OLD = Case("vgg16-ssd-l2", "vgg_ssd300_mAP_77.43_v2.pth", 21, "vgg_ssd", "vgg_ssd", PIXELS, 0, 1.0, 9.5)
FORK = CASES[1]._replace(
    name="mb1-ssd-512", file="mb1-ssd-Epoch-29-Loss-2.5.pth", classes=9, origin="pytorch-ssd/mb1-ssd-512", size=512
)


def main() -> None:
    check_out(__doc__)
    from vision.ssd import vgg_ssd
    from vision.ssd.config import mobilenetv1_ssd_config

    if hasattr(mobilenetv1_ssd_config, "set_image_size"):
        mobilenetv1_ssd_config.set_image_size(FORK.size)
        cases = (FORK,)
    else:
        cases = (OLD,) if hasattr(vgg_ssd, "ScaledL2Norm") else CASES
    for case in cases:
        write(f"pytorch_ssd-{case.name}", golden(case))


def layout(net: nn.Module, case: Case) -> dict[str, tuple[list[int], Fill]]:
    tensors = layout_of(net)
    first = next(iter(tensors))
    tensors[first] = (tensors[first][0], ["normal", tensors[first][1][1] / case.scale])
    for heads, spread in ((net.classification_headers, case.spread), (net.regression_headers, 0.5)):
        kind = "classification" if heads is net.classification_headers else "regression"
        for level, head in enumerate(heads):
            name = f"{kind}_headers.{level}" + ("" if isinstance(head, nn.Conv2d) else f".{case.last}")
            shape, rule = tensors[f"{name}.weight"]
            tensors[f"{name}.weight"] = (shape, ["normal", spread * rule[1]])
            if kind == "classification":
                shape = tensors[f"{name}.bias"][0]
                tensors[f"{name}.bias"] = (shape, ["class_bias", shape[0] // case.classes, False, 0, case.background])
    return tensors


@torch.no_grad()
def golden(case: Case) -> Golden:
    module = importlib.import_module(f"vision.ssd.{case.module}")
    net = getattr(module, f"create_{case.words}")(case.classes, is_test=True).eval()
    tensors = layout(net, case)
    net.load_state_dict(noisy_state(tensors))
    net.is_test = False
    conf, loc = net(made_batch(case.size, case.size, case.scale))
    net.is_test = True
    predictor = getattr(module, f"create_{case.words}_predictor")(net, candidate_size=200)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells the time
        found = predictor.predict(picture())
    boxes, labels, scores = (part.numpy() for part in found)
    order = np.argsort(-scores, kind="stable")
    return Golden(
        case.file,
        case.origin,
        tensors,
        (case.size, case.size),
        case.scale,
        net.priors.numpy(),
        kept(conf[0]),
        kept(loc[0]),
        boxes[order],
        labels[order],
        scores[order],
    )


if __name__ == "__main__":
    main()
