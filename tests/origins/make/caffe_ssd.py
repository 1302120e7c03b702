"""Golden files of weiliu89/caffe: `python tests/origins/make/caffe_ssd.py`, with OpenCV 4 installed.

Caffe itself is not needed: OpenCV reads its nets and has all of its layers, suppression included. The prototxts written
here are those of `examples/ssd/ssd_pascal.py` and `ssd_coco.py` at commit 4817bf8; the layers of SSD512 are those of
OpenCV's and mmdetection's copies, since no script of it was published.

OpenCV's PriorBox keeps fractions of pixels where Caffe's drops them. So it runs with whole numbers here, and the
importer is told what the published net says, fractions and all.
"""

from collections.abc import Sequence
from typing import Any

from caffe_files import SPREAD, Layout, data, golden, prior_box
from common import write
from goldens import Golden

MEAN = (104.0, 117.0, 123.0)  # blue first
SOURCES = ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2", "conv10_2")
MAPS = {"conv4_3_norm": 512, "fc7": 1024, "conv6_2": 512}  # 256 channels else
VGG = [(64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)]
# Channels of the 1x1 and the larger convolution; kernel, stride and padding of the latter.
EXTRAS_300 = [(256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)]
EXTRAS_512 = [(256, 512, 3, 2, 1), *[(128, 256, 3, 2, 1)] * 3, (128, 256, 4, 1, 1)]
RATIOS_300 = [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)]
RATIOS_512 = [(2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)]
STEPS_300 = (8, 16, 32, 64, 100, 300)
STEPS_512 = (8, 16, 32, 64, 128, 256, 512)
VOC_300 = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
COCO_300 = (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0)
VOC_512 = (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6)
COCO_512 = (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72)


def main() -> None:
    net = prototxt(300, 21, VOC_300)
    write("caffe_ssd-voc", make("VGG_mine_iter_1.caffemodel", 300, 21, 16.5, net, said=net))
    net = prototxt(300, 81, COCO_300)
    write("caffe_ssd-coco", make("mine.caffemodel", 300, 81, 7.0, net, said=None))
    net = prototxt(512, 21, [int(size) for size in VOC_512])
    boxes = [
        prior_box(f"{source}_mbox_priorbox", *numbers)
        for source, *numbers in zip(SOURCES, VOC_512, VOC_512[1:], RATIOS_512, STEPS_512)
    ]
    layers = [data(512, MEAN), *boxes]
    write("caffe_ssd-512", make("mine.caffemodel", 512, 21, 18.2, net, said=None, more=layers))
    net = prototxt(512, 81, [int(size) for size in COCO_512])
    write("caffe_ssd-512-coco", make("mine.caffemodel", 512, 81, 8.0, net, said=None))


def make(file: str, size: int, classes: int, background: float, net: str, **options: Any) -> Golden:
    kinds = {"conv4_3_norm": "Normalize"}
    return golden(file, layout(size, classes, background), kinds, net, MEAN, 1.0, size, **options)


def layout(size: int, classes: int, background: float) -> Layout:
    """Names, shapes and rules of all blobs."""
    tensors: Layout = {}

    def add(name: str, outputs: int, inputs: int, kernel: int, gain: float = 1.0) -> None:
        std = gain * (2 / (inputs * kernel * kernel)) ** 0.5
        tensors[f"{name}.0"] = ([outputs, inputs, kernel, kernel], ["normal", std])
        tensors[f"{name}.1"] = ([outputs], ["normal", 0.1])

    inputs = 3
    for stage, widths in enumerate(VGG, start=1):
        for number, outputs in enumerate(widths, start=1):
            add(f"conv{stage}_{number}", outputs, inputs, 3, 1 / SPREAD if inputs == 3 else 1.0)
            inputs = outputs
    add("fc6", 1024, 512, 3)
    add("fc7", 1024, 1024, 1)
    inputs = 1024
    for block, (middle, outputs, kernel, _, _) in enumerate(extras(size), start=6):
        add(f"conv{block}_1", middle, inputs, 1)
        add(f"conv{block}_2", outputs, middle, kernel)
        inputs = outputs
    tensors["conv4_3_norm.0"] = ([512], ["uniform", 10.0, 20.0])
    for source, ratios in zip(SOURCES, ratios_of(size)):
        boxes, gain = 2 + 2 * len(ratios), 0.15 if source == "conv4_3_norm" else 1.0  # the norm's 20
        add(f"{source}_mbox_loc", 4 * boxes, MAPS.get(source, 256), 3, 0.5 * gain)
        add(f"{source}_mbox_conf", classes * boxes, MAPS.get(source, 256), 3, 1.6 * gain)
        tensors[f"{source}_mbox_conf.1"] = ([classes * boxes], ["class_bias", boxes, False, 0, background])
    return tensors


def extras(size: int) -> Sequence[tuple[int, int, int, int, int]]:
    return EXTRAS_300 if size == 300 else EXTRAS_512


def ratios_of(size: int) -> Sequence[tuple[int, ...]]:
    return RATIOS_300 if size == 300 else RATIOS_512


def prototxt(size: int, classes: int, sizes: Sequence[float]) -> str:
    """The net for deployment."""
    lines = ['name: "SSD"', 'input: "data"', f"input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}"]

    def add(name: str, kind: str, bottoms: Sequence[str], parameters: str = "", top: str = "") -> str:
        links = " ".join([f'bottom: "{bottom}"' for bottom in bottoms] + [f'top: "{top or name}"'])
        lines.append(f'layer {{ name: "{name}" type: "{kind}" {links} {parameters} }}')
        return name

    def convolution(name: str, bottom: str, outputs: int, kernel: int, more: str = "", relu: bool = True) -> str:
        numbers = f"num_output: {outputs} kernel_size: {kernel} {more}"
        add(name, "Convolution", [bottom], f"convolution_param {{ {numbers} }}")
        if relu:
            add(f"{name}_relu", "ReLU", [name], top=name)
        return name

    top = "data"
    for stage, widths in enumerate(VGG, start=1):
        for number, outputs in enumerate(widths, start=1):
            top = convolution(f"conv{stage}_{number}", top, outputs, 3, "pad: 1")
        pooling = "kernel_size: 2 stride: 2" if stage < 5 else "kernel_size: 3 stride: 1 pad: 1"
        top = add(f"pool{stage}", "Pooling", [top], f"pooling_param {{ pool: MAX {pooling} }}")
    top = convolution("fc7", convolution("fc6", top, 1024, 3, "pad: 6 dilation: 6"), 1024, 1)
    for block, (middle, outputs, kernel, stride, pad) in enumerate(extras(size), start=6):
        top = convolution(f"conv{block}_1", top, middle, 1)
        top = convolution(f"conv{block}_2", top, outputs, kernel, f"pad: {pad} stride: {stride}")
    scaled = "norm_param { across_spatial: false channel_shared: false }"
    add("conv4_3_norm", "Normalize", ["conv4_3"], scaled)
    steps = STEPS_300 if size == 300 else STEPS_512
    levels = list(zip(SOURCES, sizes, sizes[1:], ratios_of(size), steps))
    for source, low, high, ratios, step in levels:
        boxes = 2 + 2 * len(ratios)
        for what, outputs in (("loc", 4 * boxes), ("conf", classes * boxes)):
            name = convolution(f"{source}_mbox_{what}", source, outputs, 3, "pad: 1", relu=False)
            turned = add(f"{name}_perm", "Permute", [name], "permute_param { order: [0, 2, 3, 1] }")
            add(f"{name}_flat", "Flatten", [turned], "flatten_param { axis: 1 }")
        shape = " ".join([f"min_size: {low} max_size: {high}", *(f"aspect_ratio: {ratio}" for ratio in ratios)])
        rest = f"flip: true clip: false variance: [0.1, 0.1, 0.2, 0.2] step: {step} offset: 0.5"
        add(f"{source}_mbox_priorbox", "PriorBox", [source, "data"], f"prior_box_param {{ {shape} {rest} }}")
    for what, end, axis in (("loc", "_flat", 1), ("conf", "_flat", 1), ("priorbox", "", 2)):
        bottoms = [f"{source}_mbox_{what}{end}" for source, *_ in levels]
        add(f"mbox_{what}", "Concat", bottoms, f"concat_param {{ axis: {axis} }}")
    by_class = f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}"
    add("mbox_conf_reshape", "Reshape", ["mbox_conf"], by_class)
    add("mbox_conf_softmax", "Softmax", ["mbox_conf_reshape"], "softmax_param { axis: 2 }")
    add("mbox_conf_flatten", "Flatten", ["mbox_conf_softmax"], "flatten_param { axis: 1 }")
    output = f"num_classes: {classes} share_location: true background_label_id: 0 keep_top_k: 200"
    output += " nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE confidence_threshold: 0.01"
    bottoms = ["mbox_loc", "mbox_conf_flatten", "mbox_priorbox"]
    add("detection_out", "DetectionOutput", bottoms, f"detection_output_param {{ {output} }}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
