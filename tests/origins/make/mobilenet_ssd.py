"""Golden files of chuanqi305/MobileNet-SSD: `python tests/origins/make/mobilenet_ssd.py CHECKOUT`, with OpenCV 4
installed, which runs the prototxts of the check-out with the weights made here.

Checked at commit bb17b6c: `voc/MobileNetSSD_deploy.prototxt`, whose batch norms are merged into convolutions, and
`deploy.prototxt`, which has them.
"""

from caffe_files import SPREAD, Layout, golden
from common import check_out, write
from goldens import Golden

MEAN, SCALE = (127.5, 127.5, 127.5), 0.007843
CLASSES = 21
# Channels and stride of the separable blocks; channels of the last blocks' 1x1 and 3x3 convolution.
WIDTHS = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
EXTRAS = ((256, 512), (128, 256), (128, 256), (64, 128))
SOURCES = {"conv11": 512, "conv13": 1024, "conv14_2": 512, "conv15_2": 256, "conv16_2": 256, "conv17_2": 128}
FACTOR = 999.98  # of a batch norm's statistics; a running sum of .999 after many steps


def main() -> None:
    folder = check_out(__doc__)
    deploy = (folder / "voc" / "MobileNetSSD_deploy.prototxt").read_text()
    write("mobilenet_ssd-deploy", make(deploy, "MobileNetSSD_deploy.caffemodel", norms=False, said=deploy))
    train = (folder / "deploy.prototxt").read_text()
    write("mobilenet_ssd-train", make(train, "mobilenet_iter_73000.caffemodel", norms=True, said=None))


def make(prototxt: str, file: str, *, norms: bool, said: str | None) -> Golden:
    tensors = layout(norms)
    kinds = {name: "BatchNorm" if name.endswith("bn") else "Scale" for name in names(tensors) if "/" in name}
    kinds = {name: kind for name, kind in kinds.items() if not name.endswith("/dw")}
    return golden(file, tensors, kinds, prototxt, MEAN, SCALE, 300, said=said)


def names(tensors: Layout) -> list[str]:
    return [name.rpartition(".")[0] for name in tensors]


def layout(norms: bool) -> Layout:
    """Names, shapes and rules of all blobs."""
    tensors: Layout = {}

    def add(name: str, outputs: int, inputs: int, kernel: int, gain: float = 1.0) -> None:
        std = gain * (2 / (inputs * kernel * kernel)) ** 0.5
        tensors[f"{name}.0"] = ([outputs, inputs, kernel, kernel], ["normal", std])
        if not norms or "mbox" in name:
            tensors[f"{name}.1"] = ([outputs], ["normal", 0.1])
            return
        tensors[f"{name}/bn.0"] = ([outputs], ["normal", 0.3 * FACTOR])
        tensors[f"{name}/bn.1"] = ([outputs], ["uniform", 0.5 * FACTOR, 2.0 * FACTOR])
        tensors[f"{name}/bn.2"] = ([1], ["constant", FACTOR])
        tensors[f"{name}/scale.0"] = ([outputs], ["uniform", 0.5, 1.5])
        tensors[f"{name}/scale.1"] = ([outputs], ["normal", 0.2])

    add("conv0", 32, 3, 3, 1 / (SPREAD * SCALE))
    for block, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:]), start=1):
        add(f"conv{block}/dw", inputs, 1, 3)
        add(f"conv{block}", outputs, inputs, 1)
    inputs = WIDTHS[-1]
    for block, (middle, outputs) in enumerate(EXTRAS, start=14):
        add(f"conv{block}_1", middle, inputs, 1)
        add(f"conv{block}_2", outputs, middle, 3)
        inputs = outputs
    for source, channels in SOURCES.items():
        boxes = 3 if source == "conv11" else 6
        add(f"{source}_mbox_loc", 4 * boxes, channels, 1, 0.5)
        add(f"{source}_mbox_conf", CLASSES * boxes, channels, 1, 1.6 if norms else 3.0)
        tensors[f"{source}_mbox_conf.1"] = ([CLASSES * boxes], ["class_bias", boxes, False, 0, 5.1 if norms else 6.0])
    return tensors


if __name__ == "__main__":
    main()
