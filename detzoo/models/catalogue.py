"""Every published checkpoint that has an address and can be loaded, by the model of the zoo that it is a kind of.

What their cards say, and how it is known: `publishers`. Those that are known and cannot be loaded are listed, with the
reason, in references/IMPORTING.md.
"""

from ..categories import COCO, VOC, Categories
from .ilsvrc import ILSVRC
from .publishers import (
    COCO_14,
    COCO_15,
    COCO_17,
    DRIVE,
    VOC_07,
    VOC_12,
    balancap,
    caffe,
    chuanqi,
    jetson_inference,
    lufficc,
    lufficc_of_2018,
    mmdetection,
    nvidia,
    pytorch_ssd,
    pytorch_ssd_of_2018,
    sgrvinod,
    ssd_pytorch,
    tensorflow,
    torchvision,
)
from .weights import WeightsEnum

# The list of classes that goes with the file was never seen here: these are the two whose images its README has one
# download, in the order of its training.
GUNS = Categories(("Handgun", "Shotgun"))


class SSD300_VGG16_Weights(WeightsEnum):
    """Published weights of `ssd300_vgg16`.

    In names, VOC0712PLUS is VOC 2007 with its test images and 2012 (07++12 in the paper), and VOC0712_COCO was
    pre-trained on COCO.
    """

    COCO_V1 = torchvision("ssd300_vgg16_coco-b556d3b4.pth", 25.1, 35_641_826, 135.988, "ssd300-vgg16")
    COCO_MMDETECTION = mmdetection(
        "ssd/ssd300_coco/ssd300_coco_20210803_015428-d231a06e.pth", {COCO_17: {"AP": 25.5}}, "ssd300_coco", COCO
    )
    COCO_MMDETECTION_JUNE_2021 = mmdetection(
        "ssd/ssd300_coco/ssd300_coco_20210604_193052-b61137df.pth", {COCO_17: {"AP": 25.9}}, "ssd300_coco", COCO
    )
    COCO_MMDETECTION_2020 = mmdetection(
        "ssd/ssd300_coco/ssd300_coco_20200307-a92d2092.pth", {COCO_17: {"AP": 25.6}}, "ssd300_coco", COCO
    )
    COCO_LUFFICC = lufficc("vgg_ssd300_coco_trainval35k.pth", {COCO_14: {"AP": 25.2}}, "vgg_ssd300_coco", COCO, 262.0)
    COCO_CAFFE = caffe("coco_SSD_300x300_iter_400000", "dUY1Ml9GRTFpUWc", {COCO_15: {"AP": 25.1}}, "coco", COCO)
    COCO_CAFFE_VOC_CLASSES = caffe("coco_SSD_300x300", "NDlVeFJDc2tIU1k", {}, "coco", VOC)
    VOC0712_SSD_PYTORCH = ssd_pytorch(
        "ssd300_mAP_77.43_v2.pth", 77.43, "voc", file_size=105.151,
        sha256="3d147eb48c8f3771101e12ff14d8105b935d2e4e08fa471e2ee5a2426c20d61e",
    )  # fmt: skip
    VOC0712_SSD_PYTORCH_FROM_CAFFE = ssd_pytorch("ssd_300_VOC0712.pth", 77.26, "caffe", sha256=None)
    VOC0712_PYTORCH_SSD = pytorch_ssd("vgg16-ssd-mp-0_7726.pth", 77.26, "vgg16-ssd")
    VOC0712_PYTORCH_SSD_2018 = pytorch_ssd_of_2018(
        "VGG-SSD-Epoch-115-Loss-2.82-map-0.768.pth", {VOC_07: {"mAP": 76.8}}, "vgg16-ssd-l2", "vgg16-ssd"
    )
    VOC0712_PYTORCH_SSD_TRANSLATED = pytorch_ssd_of_2018(  # VOC0712_SSD_PYTORCH under other names
        "vgg_ssd300_mAP_77.43_v2.pth", {VOC_07: {"mAP": 77.43}}, "vgg16-ssd-l2", "vgg16-ssd"
    )
    VOC0712_SGRVINOD = sgrvinod("checkpoint_ssd300.pth.tar", "1bvJfF6r_zYl2xZEpYXxgb7jLQHFZ01Qe", 77.2)
    VOC0712_SGRVINOD_2019 = sgrvinod("BEST_checkpoint_ssd300.pth.tar", "1YZp2PUR1NYKPlBIVoVRO0Tg1ECDmrnC3", 77.1)
    VOC0712_LUFFICC = lufficc("vgg_ssd300_voc0712.pth", {VOC_07: {"mAP": 77.7}}, "vgg_ssd300_voc", VOC, 201.0)
    VOC0712_LUFFICC_2018 = lufficc_of_2018("ssd300_voc0712_mAP77.83.pth", 77.83, 100.0)
    VOC0712_MMDETECTION = mmdetection(
        "pascal_voc/ssd300_voc0712/ssd300_voc0712_20220320_194658-17edda1b.pth", {VOC_07: {"mAP": 76.5}},
        "ssd300_voc", VOC,
    )  # fmt: skip
    VOC0712_CAFFE = caffe("VOC0712_SSD_300x300_iter_120000", "WVVTSmQxU0dVRzA", {VOC_07: {"mAP": 77.2}}, "voc", VOC)
    VOC0712_COCO_CAFFE = caffe(
        "VOC0712_SSD_300x300_ft_iter_120000", "UFpoU01yLS1SaG8", {VOC_07: {"mAP": 81.2}}, "coco", VOC
    )
    VOC0712PLUS_CAFFE = caffe(
        "VOC0712Plus_SSD_300x300_iter_240000", "WnR2T1BGVWlCZHM", {VOC_12: {"mAP": 75.8}}, "voc", VOC
    )
    VOC0712PLUS_COCO_CAFFE = caffe(
        "VOC0712Plus_SSD_300x300_ft_iter_160000", "TkFPTEQ1Z091SUE", {VOC_12: {"mAP": 79.3}}, "coco", VOC
    )
    VOC0712_BALANCAP = balancap(
        "VGG_VOC0712_SSD_300x300_iter_120000", f"{DRIVE}0B0qPCUZ-3YwWZlJaRTRRQWRFYXM", {VOC_07: {"mAP": 77.8}},
        "voc", "300-voc",
    )  # fmt: skip
    VOC0712_COCO_BALANCAP = balancap(
        "VGG_VOC0712_SSD_300x300_ft_iter_120000", f"{DRIVE}0B0qPCUZ-3YwWUXh4UHJrd1RDM3c", {VOC_07: {"mAP": 81.7}},
        "coco", "300-coco",
    )  # fmt: skip
    VOC0712_COCO_BALANCAP_DEMO = balancap(  # the notebook's
        "ssd_300_vgg", "https://github.com/balancap/SSD-Tensorflow/raw/master/checkpoints/ssd_300_vgg.ckpt.zip", {},
        "coco", "300-coco",
    )  # fmt: skip
    ILSVRC_CAFFE = caffe("ILSVRC2016_SSD_300x300_iter_440000", "a2NKQ2d1d043VXM", {}, "voc", ILSVRC)
    DEFAULT = COCO_V1


class SSD300_EfficientNet_B3_Weights(WeightsEnum):
    """Published weights of `ssd300_efficientnet_b3`."""

    VOC0712_LUFFICC = lufficc(
        "efficient_net_b3_ssd300_voc0712.pth", {VOC_07: {"mAP": 73.9}}, "efficient_net_b3", VOC, 97.1
    )
    DEFAULT = VOC0712_LUFFICC


class SSD512_VGG16_Weights(WeightsEnum):
    """Published weights of `ssd512_vgg16`; names as in `SSD300_VGG16_Weights`."""

    COCO_MMDETECTION = mmdetection(
        "ssd/ssd512_coco/ssd512_coco_20210803_022849-0a47a1ca.pth", {COCO_17: {"AP": 29.5}}, "ssd512_coco", COCO
    )
    COCO_MMDETECTION_JUNE_2021 = mmdetection(
        "ssd/ssd512_coco/ssd512_coco_20210604_111835-d3eba047.pth", {COCO_17: {"AP": 29.8}}, "ssd512_coco", COCO
    )
    COCO_MMDETECTION_2020 = mmdetection(
        "ssd/ssd512_coco/ssd512_coco_20200308-038c5591.pth", {COCO_17: {"AP": 29.4}}, "ssd512_coco", COCO
    )
    COCO_LUFFICC = lufficc("vgg_ssd512_coco_trainval35k.pth", {COCO_14: {"AP": 29.0}}, "vgg_ssd512_coco", COCO, 275.0)
    COCO_CAFFE = caffe("coco_SSD_512x512_iter_360000", "dlJpZHJzOXd3MTg", {COCO_15: {"AP": 28.8}}, "512-coco", COCO)
    COCO_CAFFE_VOC_CLASSES = caffe("coco_SSD_512x512", "TW4wTC14aDdCTDQ", {}, "512-coco", VOC)
    VOC0712_LUFFICC = lufficc("vgg_ssd512_voc0712.pth", {VOC_07: {"mAP": 80.7}}, "vgg_ssd512_voc", VOC, 207.0)
    VOC0712_LUFFICC_2018 = lufficc_of_2018("ssd512_voc0712_mAP80.25.pth", 80.25, 104.0)
    VOC0712_MMDETECTION = mmdetection(
        "pascal_voc/ssd512_voc0712/ssd512_voc0712_20220320_194717-03cefefe.pth", {VOC_07: {"mAP": 79.5}},
        "ssd512_voc", VOC,
    )  # fmt: skip
    VOC0712_CAFFE = caffe("VOC0712_SSD_512x512_iter_120000", "ZDIxVHBEcUNBb2s", {VOC_07: {"mAP": 79.8}}, "512", VOC)
    VOC0712_COCO_CAFFE = caffe(
        "VOC0712_SSD_512x512_ft_iter_120000", "X3ZXQUUtM0xNeEk", {VOC_07: {"mAP": 83.2}}, "512-coco", VOC
    )
    VOC0712PLUS_CAFFE = caffe(
        "VOC0712Plus_SSD_512x512_iter_240000", "MjFjNTlnempHNWs", {VOC_12: {"mAP": 78.5}}, "512", VOC
    )
    VOC0712PLUS_COCO_CAFFE = caffe(
        "VOC0712Plus_SSD_512x512_ft_iter_160000", "NVVNdWdYNEh1WTA", {VOC_12: {"mAP": 82.2}}, "512-coco", VOC
    )
    VOC0712_COCO_BALANCAP = balancap(
        "VGG_VOC0712_SSD_512x512_ft_iter_120000", f"{DRIVE}0B0qPCUZ-3YwWT1RCLVZNN3RTVEU", {VOC_07: {"mAP": 83.7}},
        "coco", "512",
    )  # fmt: skip
    DEFAULT = COCO_MMDETECTION


class SSD300_ResNet50_Weights(WeightsEnum):
    """Published weights of `ssd300_resnet50`."""

    COCO_NVIDIA = nvidia("ssd_pyt_ckpt_amp/versions/20.06.0/files/nvidia_ssdpyt_amp_200703.pt")
    COCO_NVIDIA_2019 = nvidia("ssdpyt_fp32/versions/1/files/nvidia_ssdpyt_fp32_20190225.pt", gone=True)  # issue 721
    DEFAULT = COCO_NVIDIA


class SSD300_MobileNet_V1_Weights(WeightsEnum):
    """Published weights of `ssd300_mobilenet_v1`."""

    VOC0712_PYTORCH_SSD = pytorch_ssd("mobilenet-v1-ssd-mp-0_675.pth", 67.55, "mb1-ssd")
    VOC0712_JETSON = jetson_inference(67.55)
    GUNS_PYTORCH_SSD = pytorch_ssd_of_2018("gun_model_2.21.pth", {}, "mb1-ssd", "mb1-ssd", GUNS)
    VOC0712_COCO_CHUANQI = chuanqi(
        "MobileNetSSD_deploy.caffemodel", "0B3gersZ2cHIxRm5PMWRoTkdHdHc", "deploy",
        sha1="994d30a8afaa9e754d17d2373b2d62a7dfbaaf7a",
    )  # fmt: skip
    VOC0712_COCO_CHUANQI_TRAIN = chuanqi("mobilenet_iter_73000.caffemodel", "0B3gersZ2cHIxVFI1Rjd5aDgwOG8", "train")
    COCO_TENSORFLOW = tensorflow("ssd_mobilenet_v1_coco_2018_01_28", {"COCO": {"AP": 21.0}}, "mobilenet_v1", "v1")
    DEFAULT = VOC0712_JETSON


class SSDLite300_MobileNet_V2_Weights(WeightsEnum):
    """Published weights of `ssdlite300_mobilenet_v2`."""

    VOC0712_PYTORCH_SSD = pytorch_ssd("mb2-ssd-lite-mp-0_686.pth", 68.61, "mb2-ssd-lite")
    COCO_TENSORFLOW = tensorflow(
        "ssdlite_mobilenet_v2_coco_2018_05_09", {"COCO": {"AP": 22.0}}, "mobilenet_v2", "v2-lite"
    )
    COCO_TENSORFLOW_SSD = tensorflow("ssd_mobilenet_v2_coco_2018_03_29", {"COCO": {"AP": 22.0}}, "mobilenet_v2", "v2")
    DEFAULT = VOC0712_PYTORCH_SSD


class SSDLite320_MobileNet_V2_Weights(WeightsEnum):
    """Published weights of `ssdlite320_mobilenet_v2`."""

    COCO_MMDETECTION = mmdetection(
        "ssd/ssdlite_mobilenetv2_scratch_600e_coco/ssdlite_mobilenetv2_scratch_600e_coco_20210629_110627-974d9307.pth",
        {COCO_17: {"AP": 21.3}}, "ssdlite320", COCO,
    )  # fmt: skip
    VOC0712_LUFFICC = lufficc(
        "mobilenet_v2_ssd320_voc0712_v2.pth", {VOC_07: {"mAP": 68.9}}, "mobilenet_v2_v2", VOC, 25.5
    )
    VOC0712_LUFFICC_V1 = lufficc(
        "mobilenet_v2_ssd320_voc0712.pth", {VOC_07: {"mAP": 68.8}}, "mobilenet_v2_v1", VOC, 25.5
    )
    DEFAULT = COCO_MMDETECTION


class SSDLite320_MobileNet_V3_Large_Weights(WeightsEnum):
    """Published weights of `ssdlite320_mobilenet_v3_large`."""

    COCO_V1 = torchvision(
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 21.3, 3_440_060, 13.418, "ssdlite320-mobilenetv3-large"
    )
    VOC0712_LUFFICC = lufficc("mobilenet_v3_ssd320_voc0712.pth", {VOC_07: {"mAP": 69.5}}, "mobilenet_v3", VOC, 29.9)
    DEFAULT = COCO_V1
