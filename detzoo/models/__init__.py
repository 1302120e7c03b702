"""The zoo: every model by name, with its numbers and its published weights."""

from .build import build_ssd
from .catalogue import (
    SSD300_EfficientNet_B3_Weights,
    SSD300_MobileNet_V1_Weights,
    SSD300_ResNet50_Weights,
    SSD300_VGG16_Weights,
    SSD512_VGG16_Weights,
    SSDLite300_MobileNet_V2_Weights,
    SSDLite320_MobileNet_V2_Weights,
    SSDLite320_MobileNet_V3_Large_Weights,
)
from .config import SSDConfig
from .from_torchvision import from_torchvision
from .opening import load
from .presets import (
    SSD300_EFFICIENTNET_B3,
    SSD300_MOBILENET_V1,
    SSD300_RESNET18,
    SSD300_RESNET34,
    SSD300_RESNET50,
    SSD300_RESNET101,
    SSD300_VGG16,
    SSD512_RESNET50,
    SSD512_VGG16,
    SSDLITE300_MOBILENET_V1,
    SSDLITE300_MOBILENET_V2,
    SSDLITE300_SQUEEZENET1_1,
    SSDLITE320_MOBILENET_V2,
    SSDLITE320_MOBILENET_V3_LARGE,
    SSDLITE320_MOBILENET_V3_SMALL,
    SSDLITE320_TIMM,
    TINY_SSD,
)
from .ssd import SSD
from .ssd_efficientnet import ssd300_efficientnet_b3
from .ssd_mobilenet import (
    ssd300_mobilenet_v1,
    ssdlite300_mobilenet_v1,
    ssdlite300_mobilenet_v2,
)
from .ssd_resnet import (
    ssd300_resnet18,
    ssd300_resnet34,
    ssd300_resnet50,
    ssd300_resnet101,
    ssd512_resnet50,
)
from .ssd_squeezenet import ssdlite300_squeezenet1_1
from .ssd_timm import ssdlite320_timm
from .ssd_tiny import tiny_ssd
from .ssd_vgg import ssd300_vgg16, ssd512_vgg16
from .ssdlite import (
    ssdlite320_mobilenet_v2,
    ssdlite320_mobilenet_v3_large,
    ssdlite320_mobilenet_v3_small,
)
from .weights import WeightsEnum
from .zoo import MODELS, get_model, get_weight, list_models

__all__ = [
    "SSD300_EFFICIENTNET_B3",
    "SSD300_EfficientNet_B3_Weights",
    "ssd300_efficientnet_b3",
    "SSDLite320_MobileNet_V2_Weights",
    "SSDLite300_MobileNet_V2_Weights",
    "SSD512_VGG16_Weights",
    "SSD300_ResNet50_Weights",
    "SSD300_MobileNet_V1_Weights",
    "MODELS",
    "SSD",
    "SSD300_MOBILENET_V1",
    "SSD300_RESNET18",
    "SSD300_RESNET34",
    "SSD300_RESNET50",
    "SSD300_RESNET101",
    "SSD300_VGG16",
    "SSD300_VGG16_Weights",
    "SSD512_RESNET50",
    "SSD512_VGG16",
    "SSDLITE300_MOBILENET_V1",
    "SSDLITE300_MOBILENET_V2",
    "SSDLITE300_SQUEEZENET1_1",
    "SSDLITE320_MOBILENET_V2",
    "SSDLITE320_MOBILENET_V3_LARGE",
    "SSDLITE320_MOBILENET_V3_SMALL",
    "SSDLITE320_TIMM",
    "SSDConfig",
    "SSDLite320_MobileNet_V3_Large_Weights",
    "TINY_SSD",
    "WeightsEnum",
    "build_ssd",
    "from_torchvision",
    "get_model",
    "get_weight",
    "list_models",
    "load",
    "ssd300_mobilenet_v1",
    "ssd300_resnet18",
    "ssd300_resnet34",
    "ssd300_resnet50",
    "ssd300_resnet101",
    "ssd300_vgg16",
    "ssd512_resnet50",
    "ssd512_vgg16",
    "ssdlite300_mobilenet_v1",
    "ssdlite300_mobilenet_v2",
    "ssdlite300_squeezenet1_1",
    "ssdlite320_mobilenet_v2",
    "ssdlite320_mobilenet_v3_large",
    "ssdlite320_mobilenet_v3_small",
    "ssdlite320_timm",
    "tiny_ssd",
]
