"""Every published checkpoint that has an address, by the model of the zoo that it is a kind of.

Metrics, sizes (in MB) and licences are their publishers'; nobody here has had the files, so no number is measured. What
was checked is the architecture: `golden` in a card names the file in tests/origins whose raw outputs, default boxes and
detections detzoo reproduces from random weights; for torchvision's, see tests/parity. `licence` None means that the
publisher states none.
"""

from typing import Any

from ..categories import COCO, COCO_91, VOC, Categories
from .weights import Weights, WeightsEnum

Metrics = dict[str, dict[str, float]]
VERIFIED_ARCHITECTURE, UNVERIFIED = "verified architecture", "unverified"
VOC_07, COCO_17, COCO_14 = "VOC2007-test, 11 points", "COCO-val2017", "COCO-minival2014"
DRIVE = "https://drive.google.com/open?id="


def _torchvision(url: str, ap: float, num_params: int, size: float, recipe: str) -> Weights:
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


def _card(origin: str, licence: str | None, metrics: Metrics, golden: str | None, **more: Any) -> dict[str, Any]:
    state = {"state": UNVERIFIED} if golden is None else {"state": VERIFIED_ARCHITECTURE, "golden": golden}
    return {"origin": origin, "licence": licence, "metrics": metrics, **state, **more}


def _ssd_pytorch(file: str, mean_ap: float, reading: str, sha256: str | None, **more: Any) -> Weights:
    card = _card("ssd.pytorch", "MIT", {VOC_07: {"mAP": mean_ap}}, f"ssd_pytorch-{reading}", **more)
    url = f"https://s3.amazonaws.com/amdegroot-models/{file}"
    return Weights(url, sha256, VOC, card, f"ssd.pytorch/{reading}")


def _pytorch_ssd(file: str, mean_ap: float, reading: str) -> Weights:
    """Its Drive folder is for people; the former direct links are said to be gone."""
    card = _card("pytorch-ssd", "MIT", {VOC_07: {"mAP": mean_ap}}, f"pytorch_ssd-{reading}")
    folder = "https://drive.google.com/drive/folders/1pKn-RifvJGWiOx0ZCRLtCXM5GT5lAluu"
    return Weights(folder, None, VOC, card, f"pytorch-ssd/{reading}", file=file)


def _lufficc(file: str, metrics: Metrics, golden: str, categories: Categories, size: float) -> Weights:
    card = _card("lufficc/SSD", "MIT", metrics, f"lufficc-{golden}", file_size=size)
    url = f"https://github.com/lufficc/SSD/releases/download/1.2/{file}"
    return Weights(url, None, categories, card, f"lufficc/{file.removesuffix('.pth')}")


def _mmdetection(path: str, metrics: Metrics, reading: str, categories: Categories) -> Weights:
    card = _card("mmdetection", "Apache-2.0", metrics, f"mmdetection-{reading}")
    url = f"https://download.openmmlab.com/mmdetection/v2.0/{path}"
    return Weights(url, path.removesuffix(".pth").rpartition("-")[2], categories, card, f"mmdetection/{reading}")


def _tensorflow(name: str, metrics: Metrics, reading: str, golden: str) -> Weights:
    card = _card("TensorFlow Object Detection API", "Apache-2.0", metrics, f"tf_object_detection-{golden}")
    url = f"https://download.tensorflow.org/models/object_detection/{name}.tar.gz"
    return Weights(url, None, COCO_91, card, f"tf-object-detection/{reading}", member=f"{name}/model.ckpt.index")


def _caffe(file: str, drive: str, metrics: Metrics, golden: str, categories: Categories) -> Weights:
    """Archives with the weights and their prototxt; both are to be put into the cache."""
    card = _card("weiliu89/caffe", "BSD-2-Clause", metrics, f"caffe_ssd-{golden}")
    return Weights(f"{DRIVE}0BzKzrI_SkD1_{drive}", None, categories, card, "caffe-ssd", file=file)


def _balancap(name: str, drive: str, mean_ap: float, reading: str, golden: str) -> Weights:
    """Others measured less (its issue 77); a bundle is an index and a file of data beside it."""
    card = _card("balancap/SSD-Tensorflow", None, {VOC_07: {"mAP": mean_ap}}, f"ssd_tensorflow-{golden}")
    return Weights(f"{DRIVE}{drive}", None, VOC, card, f"ssd-tensorflow/{reading}", file=f"{name}.ckpt.index")


class SSD300_VGG16_Weights(WeightsEnum):
    """Published weights of `ssd300_vgg16`."""

    COCO_V1 = _torchvision("ssd300_vgg16_coco-b556d3b4.pth", 25.1, 35_641_826, 135.988, "ssd300-vgg16")
    COCO_MMDETECTION = _mmdetection(
        "ssd/ssd300_coco/ssd300_coco_20210803_015428-d231a06e.pth", {COCO_17: {"AP": 25.5}}, "ssd300_coco", COCO
    )
    COCO_LUFFICC = _lufficc("vgg_ssd300_coco_trainval35k.pth", {COCO_14: {"AP": 25.2}}, "vgg_ssd300_coco", COCO, 262.0)
    COCO_CAFFE = _caffe(
        "VGG_coco_SSD_300x300_iter_400000.caffemodel", "dUY1Ml9GRTFpUWc", {"COCO-test-dev2015": {"AP": 25.1}},
        "coco", COCO,
    )  # fmt: skip
    VOC0712_SSD_PYTORCH = _ssd_pytorch(
        "ssd300_mAP_77.43_v2.pth", 77.43, "voc", file_size=105.151,
        sha256="3d147eb48c8f3771101e12ff14d8105b935d2e4e08fa471e2ee5a2426c20d61e",
    )  # fmt: skip
    VOC0712_SSD_PYTORCH_FROM_CAFFE = _ssd_pytorch("ssd_300_VOC0712.pth", 77.26, "caffe", sha256=None)
    VOC0712_PYTORCH_SSD = _pytorch_ssd("vgg16-ssd-mp-0_7726.pth", 77.26, "vgg16-ssd")
    VOC0712_SGRVINOD = Weights(
        f"{DRIVE}1bvJfF6r_zYl2xZEpYXxgb7jLQHFZ01Qe", None, VOC,
        _card("sgrvinod", "MIT", {VOC_07: {"mAP": 77.2}}, "sgrvinod"), "sgrvinod", file="checkpoint_ssd300.pth.tar",
    )  # fmt: skip
    VOC0712_LUFFICC = _lufficc("vgg_ssd300_voc0712.pth", {VOC_07: {"mAP": 77.7}}, "vgg_ssd300_voc", VOC, 201.0)
    VOC0712_MMDETECTION = _mmdetection(
        "pascal_voc/ssd300_voc0712/ssd300_voc0712_20220320_194658-17edda1b.pth", {VOC_07: {"mAP": 76.5}},
        "ssd300_voc", VOC,
    )  # fmt: skip
    VOC0712_CAFFE = _caffe(
        "VGG_VOC0712_SSD_300x300_iter_120000.caffemodel", "WVVTSmQxU0dVRzA", {VOC_07: {"mAP": 77.2}}, "voc", VOC
    )
    VOC0712_BALANCAP = _balancap(
        "VGG_VOC0712_SSD_300x300_iter_120000", "0B0qPCUZ-3YwWZlJaRTRRQWRFYXM", 77.8, "voc", "300-voc"
    )
    VOC0712_COCO_BALANCAP = _balancap(
        "VGG_VOC0712_SSD_300x300_ft_iter_120000", "0B0qPCUZ-3YwWUXh4UHJrd1RDM3c", 81.7, "coco", "300-coco"
    )
    DEFAULT = COCO_V1


class SSD300_EfficientNet_B3_Weights(WeightsEnum):
    """Published weights of `ssd300_efficientnet_b3`."""

    VOC0712_LUFFICC = _lufficc(
        "efficient_net_b3_ssd300_voc0712.pth", {VOC_07: {"mAP": 73.9}}, "efficient_net_b3", VOC, 97.1
    )
    DEFAULT = VOC0712_LUFFICC


class SSD512_VGG16_Weights(WeightsEnum):
    """Published weights of `ssd512_vgg16`."""

    COCO_MMDETECTION = _mmdetection(
        "ssd/ssd512_coco/ssd512_coco_20210803_022849-0a47a1ca.pth", {COCO_17: {"AP": 29.5}}, "ssd512_coco", COCO
    )
    COCO_LUFFICC = _lufficc("vgg_ssd512_coco_trainval35k.pth", {COCO_14: {"AP": 29.0}}, "vgg_ssd512_coco", COCO, 275.0)
    COCO_CAFFE = _caffe(
        "VGG_coco_SSD_512x512_iter_360000.caffemodel", "dlJpZHJzOXd3MTg", {"COCO-test-dev2015": {"AP": 28.8}},
        "512", COCO,
    )  # fmt: skip
    VOC0712_LUFFICC = _lufficc("vgg_ssd512_voc0712.pth", {VOC_07: {"mAP": 80.7}}, "vgg_ssd512_voc", VOC, 207.0)
    VOC0712_MMDETECTION = _mmdetection(
        "pascal_voc/ssd512_voc0712/ssd512_voc0712_20220320_194717-03cefefe.pth", {VOC_07: {"mAP": 79.5}},
        "ssd512_voc", VOC,
    )  # fmt: skip
    VOC0712_CAFFE = _caffe(
        "VGG_VOC0712_SSD_512x512_iter_120000.caffemodel", "ZDIxVHBEcUNBb2s", {VOC_07: {"mAP": 79.8}}, "512", VOC
    )
    VOC0712_COCO_BALANCAP = _balancap(
        "VGG_VOC0712_SSD_512x512_ft_iter_120000", "0B0qPCUZ-3YwWT1RCLVZNN3RTVEU", 83.7, "coco", "512"
    )
    DEFAULT = COCO_MMDETECTION


class SSD300_ResNet50_Weights(WeightsEnum):
    """Published weights of `ssd300_resnet50`."""

    # Without a metric: the recipe's mean over 15 seeds with mixed precision is 26.8, this file's own is unknown.
    COCO_NVIDIA = Weights(
        "https://api.ngc.nvidia.com/v2/models/nvidia/ssd_pyt_ckpt_amp/versions/20.06.0/files/nvidia_ssdpyt_amp_200703.pt",
        None, COCO, _card("NVIDIA DeepLearningExamples", "Apache-2.0", {}, "nvidia-resnet50"), "nvidia",
    )  # fmt: skip
    DEFAULT = COCO_NVIDIA


class SSD300_MobileNet_V1_Weights(WeightsEnum):
    """Published weights of `ssd300_mobilenet_v1`."""

    VOC0712_PYTORCH_SSD = _pytorch_ssd("mobilenet-v1-ssd-mp-0_675.pth", 67.55, "mb1-ssd")
    VOC0712_JETSON = Weights(
        "https://nvidia.box.com/shared/static/djf5w54rjvpqocsiztzaandq1m3avr7c.pth", None, VOC,
        _card("jetson-inference", "MIT", {VOC_07: {"mAP": 67.55}}, "pytorch_ssd-mb1-ssd"), "pytorch-ssd/mb1-ssd",
    )  # fmt: skip
    VOC0712_COCO_CHUANQI = Weights(
        f"{DRIVE}0B3gersZ2cHIxRm5PMWRoTkdHdHc", None, VOC,
        _card("chuanqi305/MobileNet-SSD", "MIT", {VOC_07: {"mAP": 72.7}}, "mobilenet_ssd-deploy"), "mobilenet-ssd",
        sha1="994d30a8afaa9e754d17d2373b2d62a7dfbaaf7a", file="MobileNetSSD_deploy.caffemodel",
    )  # fmt: skip
    COCO_TENSORFLOW = _tensorflow("ssd_mobilenet_v1_coco_2018_01_28", {"COCO": {"AP": 21.0}}, "mobilenet_v1", "v1")
    DEFAULT = VOC0712_JETSON


class SSDLite300_MobileNet_V2_Weights(WeightsEnum):
    """Published weights of `ssdlite300_mobilenet_v2`."""

    VOC0712_PYTORCH_SSD = _pytorch_ssd("mb2-ssd-lite-mp-0_686.pth", 68.61, "mb2-ssd-lite")
    COCO_TENSORFLOW = _tensorflow(
        "ssdlite_mobilenet_v2_coco_2018_05_09", {"COCO": {"AP": 22.0}}, "mobilenet_v2", "v2-lite"
    )
    COCO_TENSORFLOW_SSD = _tensorflow("ssd_mobilenet_v2_coco_2018_03_29", {"COCO": {"AP": 22.0}}, "mobilenet_v2", "v2")
    DEFAULT = VOC0712_PYTORCH_SSD


class SSDLite320_MobileNet_V2_Weights(WeightsEnum):
    """Published weights of `ssdlite320_mobilenet_v2`."""

    COCO_MMDETECTION = _mmdetection(
        "ssd/ssdlite_mobilenetv2_scratch_600e_coco/ssdlite_mobilenetv2_scratch_600e_coco_20210629_110627-974d9307.pth",
        {COCO_17: {"AP": 21.3}}, "ssdlite320", COCO,
    )  # fmt: skip
    VOC0712_LUFFICC = _lufficc(
        "mobilenet_v2_ssd320_voc0712_v2.pth", {VOC_07: {"mAP": 68.9}}, "mobilenet_v2_v2", VOC, 25.5
    )
    VOC0712_LUFFICC_V1 = _lufficc(
        "mobilenet_v2_ssd320_voc0712.pth", {VOC_07: {"mAP": 68.8}}, "mobilenet_v2_v1", VOC, 25.5
    )
    DEFAULT = COCO_MMDETECTION


class SSDLite320_MobileNet_V3_Large_Weights(WeightsEnum):
    """Published weights of `ssdlite320_mobilenet_v3_large`."""

    COCO_V1 = _torchvision(
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 21.3, 3_440_060, 13.418, "ssdlite320-mobilenetv3-large"
    )
    VOC0712_LUFFICC = _lufficc("mobilenet_v3_ssd320_voc0712.pth", {VOC_07: {"mAP": 69.5}}, "mobilenet_v3", VOC, 29.9)
    DEFAULT = COCO_V1
