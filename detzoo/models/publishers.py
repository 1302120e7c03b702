"""What the published files of a project have in common: addresses, licence, how they are read and what was checked.

Metrics, sizes (in MB) and licences are their publishers'; nobody here has had the files, so no number is measured. What
was checked is the architecture: `golden` in a card names the file in tests/origins whose raw outputs, default boxes and
detections detzoo reproduces from random weights; for torchvision's, see tests/parity. `licence` None means that the
publisher states none; with `gone`, somebody has reported that the address answers no more.
"""

from typing import Any

from ..categories import COCO, COCO_91, VOC, Categories
from .weights import Weights

Metrics = dict[str, dict[str, float]]
VERIFIED_ARCHITECTURE, UNVERIFIED = "verified architecture", "unverified"
VOC_07, VOC_12 = "VOC2007-test, 11 points", "VOC2012-test"
COCO_17, COCO_14, COCO_15 = "COCO-val2017", "COCO-minival2014", "COCO-test-dev2015"
DRIVE = "https://drive.google.com/open?id="


def _card(origin: str, licence: str | None, metrics: Metrics, golden: str | None, **more: Any) -> dict[str, Any]:
    state = {"state": UNVERIFIED} if golden is None else {"state": VERIFIED_ARCHITECTURE, "golden": golden}
    return {"origin": origin, "licence": licence, "metrics": metrics, **state, **more}


def torchvision(url: str, ap: float, num_params: int, size: float, recipe: str) -> Weights:
    meta = {
        "origin": "torchvision",
        "licence": "BSD-3-Clause",
        "recipe": f"https://github.com/pytorch/vision/tree/main/references/detection#{recipe}",
        "metrics": {COCO_17: {"AP": ap}},
        "num_params": num_params,
        "file_size": size,
        "state": VERIFIED_ARCHITECTURE,
    }
    digits = url.removesuffix(".pth").rpartition("-")[2]
    return Weights(f"https://download.pytorch.org/models/{url}", digits, COCO_91, meta)


def ssd_pytorch(file: str, mean_ap: float, reading: str, sha256: str | None, **more: Any) -> Weights:
    card = _card("ssd.pytorch", "MIT", {VOC_07: {"mAP": mean_ap}}, f"ssd_pytorch-{reading}", **more)
    url = f"https://s3.amazonaws.com/amdegroot-models/{file}"
    return Weights(url, sha256, VOC, card, f"ssd.pytorch/{reading}")


def pytorch_ssd(file: str, mean_ap: float, reading: str) -> Weights:
    """Its Drive folder is for people, since its direct links are gone."""
    card = _card("pytorch-ssd", "MIT", {VOC_07: {"mAP": mean_ap}}, f"pytorch_ssd-{reading}")
    folder = "https://drive.google.com/drive/folders/1pKn-RifvJGWiOx0ZCRLtCXM5GT5lAluu"
    return Weights(folder, None, VOC, card, f"pytorch-ssd/{reading}", file=file)


def pytorch_ssd_of_2018(
    file: str, metrics: Metrics, golden: str, reading: str, categories: Categories = VOC
) -> Weights:
    """Files that its README named in 2018 by direct links: nobody says that the Drive folder has them."""
    card = _card("pytorch-ssd", "MIT", metrics, f"pytorch_ssd-{golden}", gone=True)
    url = f"https://storage.googleapis.com/models-hao/{file}"
    return Weights(url, None, categories, card, f"pytorch-ssd/{reading}")


def jetson_inference(mean_ap: float) -> Weights:
    """pytorch-ssd's MobileNetV1 at another address."""
    card = _card("jetson-inference", "MIT", {VOC_07: {"mAP": mean_ap}}, "pytorch_ssd-mb1-ssd")
    url = "https://nvidia.box.com/shared/static/djf5w54rjvpqocsiztzaandq1m3avr7c.pth"
    return Weights(url, None, VOC, card, "pytorch-ssd/mb1-ssd")


def sgrvinod(file: str, drive: str, mean_ap: float) -> Weights:
    card = _card("sgrvinod", "MIT", {VOC_07: {"mAP": mean_ap}}, "sgrvinod")
    return Weights(f"{DRIVE}{drive}", None, VOC, card, "sgrvinod", file=file)


def nvidia(path: str, **more: Any) -> Weights:
    """Without a metric: the recipe's mean over 15 seeds with mixed precision is 26.8, that of a file unknown."""
    card = _card("NVIDIA DeepLearningExamples", "Apache-2.0", {}, "nvidia-resnet50", **more)
    return Weights(f"https://api.ngc.nvidia.com/v2/models/nvidia/{path}", None, COCO, card, "nvidia")


def lufficc(file: str, metrics: Metrics, golden: str, categories: Categories, size: float) -> Weights:
    card = _card("lufficc/SSD", "MIT", metrics, f"lufficc-{golden}", file_size=size)
    url = f"https://github.com/lufficc/SSD/releases/download/1.2/{file}"
    return Weights(url, None, categories, card, f"lufficc/{file.removesuffix('.pth')}")


def lufficc_of_2018(file: str, mean_ap: float, size: float) -> Weights:
    """Files of version 1: the tensors of later ones under other names (a test), but its code was not run here."""
    card = _card("lufficc/SSD", "MIT", {VOC_07: {"mAP": mean_ap}}, None, file_size=size)
    url = f"https://github.com/lufficc/SSD/releases/download/v1.0.1/{file}"
    return Weights(url, None, VOC, card, f"lufficc/{file.partition('_mAP')[0]}")


def mmdetection(path: str, metrics: Metrics, reading: str, categories: Categories) -> Weights:
    """Files of before version 2.14 have other names for the same tensors (a test)."""
    card = _card("mmdetection", "Apache-2.0", metrics, f"mmdetection-{reading}")
    url = f"https://download.openmmlab.com/mmdetection/v2.0/{path}"
    return Weights(url, path.removesuffix(".pth").rpartition("-")[2], categories, card, f"mmdetection/{reading}")


def tensorflow(name: str, metrics: Metrics, reading: str, golden: str) -> Weights:
    card = _card("TensorFlow Object Detection API", "Apache-2.0", metrics, f"tf_object_detection-{golden}")
    url = f"https://download.tensorflow.org/models/object_detection/{name}.tar.gz"
    return Weights(url, None, COCO_91, card, f"tf-object-detection/{reading}", member=f"{name}/model.ckpt.index")


def caffe(file: str, drive: str, metrics: Metrics, golden: str, categories: Categories) -> Weights:
    """Archives with the weights and their prototxt; both are to be put into the cache."""
    card = _card("weiliu89/caffe", "BSD-2-Clause", metrics, f"caffe_ssd-{golden}")
    return Weights(f"{DRIVE}0BzKzrI_SkD1_{drive}", None, categories, card, "caffe-ssd", file=f"VGG_{file}.caffemodel")


def chuanqi(file: str, drive: str, golden: str, sha1: str | None = None) -> Weights:
    """The same weights twice: with batch norms, to be trained on, and merged into convolutions."""
    card = _card("chuanqi305/MobileNet-SSD", "MIT", {VOC_07: {"mAP": 72.7}}, f"mobilenet_ssd-{golden}")
    return Weights(f"{DRIVE}{drive}", None, VOC, card, "mobilenet-ssd", sha1=sha1, file=file)


def balancap(name: str, url: str, metrics: Metrics, reading: str, golden: str) -> Weights:
    """Others measured less (its issue 77); a bundle is an index and a file of data beside it."""
    card = _card("balancap/SSD-Tensorflow", None, metrics, f"ssd_tensorflow-{golden}")
    return Weights(url, None, VOC, card, f"ssd-tensorflow/{reading}", file=f"{name}.ckpt.index")
