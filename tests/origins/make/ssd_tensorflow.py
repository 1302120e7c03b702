"""Golden files of balancap/SSD-Tensorflow: `python tests/origins/make/ssd_tensorflow.py CHECKOUT`, with what
`tensorflow1.py` needs.

Checked at commit e0e3104, on TensorFlow 2.15. The file that was trained on VOC alone needs the sizes of default boxes
that stand in a comment of `nets/ssd_vgg_300.py`; they are put into its parameters here.
"""

import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, made_batch, noisy_state
from tensorflow1 import fill, nhwc, shapes, tensorflow_1
from torch import Tensor

SCALE = 50.0  # of pixels less their mean
VOC_SIZES = [(30.0, 60.0), (60.0, 111.0), (111.0, 162.0), (162.0, 213.0), (213.0, 264.0), (264.0, 315.0)]


def main() -> None:
    check_out(__doc__)
    tf = tensorflow_1()
    from nets import ssd_vgg_300, ssd_vgg_512

    voc = ssd_vgg_300.SSDNet.default_params._replace(anchor_sizes=VOC_SIZES)
    for name, file, net in (
        ("ssd_tensorflow-300-coco", "VGG_VOC0712_SSD_300x300_ft_iter_120000.ckpt.index", ssd_vgg_300.SSDNet()),
        ("ssd_tensorflow-300-voc", "VGG_VOC0712_SSD_300x300_iter_120000.ckpt.index", ssd_vgg_300.SSDNet(voc)),
        ("ssd_tensorflow-512", "VGG_VOC0712_SSD_512x512_ft_iter_120000.ckpt.index", ssd_vgg_512.SSDNet()),
    ):
        write(name, golden(tf, net, file))


def layout(variables: dict[str, list[int]]) -> dict[str, tuple[list[int], Fill]]:
    """Noise for kernels [kh, kw, in, out] and the rest; background is so likely that no class has 200 boxes left."""
    background = 14.0 if any(name.startswith("ssd_300") for name in variables) else 20.0
    tensors: dict[str, tuple[list[int], Fill]] = {"global_step": ([], ["count"])}
    for name, shape in variables.items():
        std = float(np.sqrt(2 / np.prod(shape[:-1])))
        if name.endswith("conv1_1/weights"):
            std = 0.27 / SCALE
        elif "_box/conv" in name:
            std *= (1.5 if "block4_box" in name else 1.0) * (1.3 if "conv_cls" in name else 0.5)
        rules = {"weights": ["normal", std], "biases": ["normal", 0.1], "gamma": ["uniform", 10.0, 20.0]}
        tensors[name] = (shape, rules[name.rpartition("/")[2]])
        if name.endswith("conv_cls/biases"):
            tensors[name] = (shape, ["class_bias", shape[0] // 21, False, 0, background])
    return tensors


def golden(tf: types.ModuleType, net: Any, file: str) -> Golden:
    size = tuple(net.params.img_shape)
    batch = made_batch(*size, SCALE)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [1, *size, 3])
        with tf.contrib.slim.arg_scope(net.arg_scope(data_format="NHWC")):
            scores, deltas, logits, _ = net.net(inputs, is_training=False)
        tensors = layout(shapes(tf))
        state = {name: tensor for name, tensor in noisy_state(tensors).items() if name != "global_step"}
        fill(tf, session, state)
        anchors = net.anchors(size)
        raw = [session.run(outputs, {inputs: nhwc(batch)}) for outputs in (logits, deltas)]
        found = detections(tf, session, net, inputs, scores, net.bboxes_decode(deltas, anchors))
    boxes = default_boxes(anchors)
    return Golden(
        file, None, tensors, size, SCALE, boxes, kept(rows(raw[0])), kept(rows(raw[1])), *found,
        kind="tensorflow-bundle", metadata={"format": "tensorflow bundle", "shards": 1, "skipped": {}},
    )  # fmt: skip


def rows(levels: Sequence[np.ndarray]) -> Tensor:
    """[1, rows, columns, boxes, n] of each level to [A, n]."""
    return torch.from_numpy(np.concatenate([level.reshape(-1, level.shape[-1]) for level in levels]))


def default_boxes(anchors: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """[A, 4] centre and size, from y and x [rows, columns, 1], h and w [boxes] of each level."""
    levels = [np.stack(np.broadcast_arrays(x, y, w, h), axis=-1).reshape(-1, 4) for y, x, h, w in anchors]
    return np.concatenate(levels)


def detections(
    tf: types.ModuleType, session: Any, net: Any, inputs: Any, scores: Any, boxes: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As its eval_ssd_network.py does it, with the numbers that are its flags' defaults."""
    from preprocessing import ssd_vgg_preprocessing as preprocessing

    image = picture()
    pixels, *_ = preprocessing.preprocess_for_eval(
        tf.constant(image), None, None, net.params.img_shape, "NHWC", resize=preprocessing.Resize.WARP_RESIZE
    )
    options = {"select_threshold": 0.01, "nms_threshold": 0.45, "clipping_bbox": None, "top_k": 400, "keep_top_k": 200}
    outputs = net.detected_bboxes(scores, boxes, **options)
    by_class, boxes_by_class = session.run(outputs, {inputs: session.run(pixels)[None]})
    labels = np.concatenate([np.full((by_class[label] > 0).sum(), label) for label in by_class])
    found = np.concatenate([boxes_by_class[label][by_class[label] > 0] for label in by_class])
    values = np.concatenate([by_class[label][by_class[label] > 0] for label in by_class])
    print("most of a class:", np.bincount(labels).max())
    height, width = image.shape[:2]
    order = np.argsort(-values, kind="stable")
    return (found[:, [1, 0, 3, 2]] * np.float32([width, height, width, height]))[order], labels[order], values[order]


if __name__ == "__main__":
    main()
