"""Golden files of TensorFlow's Object Detection API: `python tests/origins/make/tf_object_detection.py FOLDER`, with
what `tensorflow1.py` needs.

The folder holds `object_detection` and slim's `nets`, checked with those of the package tf-object-detection 0.0.3 (of
September 2019), and `model.ckpt.meta` of ssd_mobilenet_v1_coco_2018_01_28. The networks and default boxes are those of
the code. Pixels and suppression are those of the published graph, whose own network is held against the code's: later
code clips boxes behind suppression, the published models before it. All have the same default boxes.
"""

import os

os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"  # the package has protos of an older protoc

import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from common import check_out, kept, picture, write
from goldens import Fill, Golden, made_batch, noisy_state
from tensorflow1 import fill, nhwc, shapes, tensorflow_1

SCALE = 0.6  # of pixels in [-1, 1]
SIZE = (300, 300)
# Of some weights. What a residual adds is small, or else the sums grow, and rounding errors with them.
FACTORS = {"/project/": 0.5, "BoxEncodingPredictor/": 0.7, "ClassPredictor/": 1.6}
SUPPRESSION = "Postprocessor/BatchMultiClassNonMaxSuppression/map/while/MultiClassNonMaxSuppression"
# As in the configs that were published with such models; what is left out is the default.
CONFIG = """
ssd {
  num_classes: 90
  image_resizer { fixed_shape_resizer { height: 300 width: 300 } }
  feature_extractor {
    type: "%(type)s" depth_multiplier: 1.0 min_depth: 16 use_depthwise: %(extras)s
    conv_hyperparams { %(layers)s }
  }
  box_coder { faster_rcnn_box_coder { y_scale: 10 x_scale: 10 height_scale: 5 width_scale: 5 } }
  matcher { argmax_matcher { } }
  similarity_calculator { iou_similarity { } }
  box_predictor { convolutional_box_predictor {
    conv_hyperparams { %(layers)s } kernel_size: %(kernel)d box_code_size: 4 use_depthwise: %(heads)s
  } }
  anchor_generator { ssd_anchor_generator {
    num_layers: 6 min_scale: 0.2 max_scale: 0.95
    aspect_ratios: 1.0 aspect_ratios: 2.0 aspect_ratios: 0.5 aspect_ratios: 3.0 aspect_ratios: 0.3333
  } }
  post_processing { batch_non_max_suppression { } score_converter: SIGMOID }
  loss { localization_loss { weighted_smooth_l1 { } } classification_loss { weighted_sigmoid { } } }
}
"""
LAYERS = """
  regularizer { l2_regularizer { weight: 0.00004 } }
  initializer { truncated_normal_initializer { mean: 0.0 stddev: 0.03 } }
  activation: RELU_6
  batch_norm { decay: 0.9997 center: true scale: true epsilon: 0.001 train: true }
"""
V1 = {"type": "ssd_mobilenet_v1", "extras": "false", "kernel": 1, "heads": "false", "layers": LAYERS}
V2 = {"type": "ssd_mobilenet_v2", "extras": "true", "kernel": 3, "heads": "false", "layers": LAYERS}
PLAIN = {**V2, "extras": "false"}
LITE = {**V2, "heads": "true"}


def main() -> None:
    folder = check_out(__doc__)
    tf = tensorflow_1()
    for name in ("matplotlib", "matplotlib.pyplot", "contextlib2"):  # imported for drawing
        sys.modules.setdefault(name, MagicMock())
    for name, file, config, threshold in (
        ("tf_object_detection-v1", "frozen_inference_graph.pb", V1, 0.3),
        ("tf_object_detection-v2", "model.ckpt.index", V2, 1e-8),
        ("tf_object_detection-v2-plain", "model.ckpt.index", PLAIN, 1e-8),
        ("tf_object_detection-v2-lite", "model.ckpt.index", LITE, 1e-8),
    ):
        write(name, golden(tf, folder / "model.ckpt.meta", file, config, threshold))


def layout(variables: dict[str, list[int]]) -> dict[str, tuple[list[int], Fill]]:
    """Noise for kernels [kh, kw, in, out], depthwise ones [kh, kw, in, 1], and the rest."""
    rules: dict[str, Fill] = {
        "biases": ["normal", 0.1],
        "gamma": ["uniform", 0.5, 1.5],
        "beta": ["normal", 0.2],
        "moving_mean": ["normal", 0.3],
        "moving_variance": ["uniform", 0.5, 2.0],
    }
    tensors: dict[str, tuple[list[int], Fill]] = {}
    for name, shape in variables.items():
        leaf = name.rpartition("/")[2]
        if leaf == "depthwise_weights":
            rule = ["normal", float(np.sqrt(2 / np.prod(shape[:2])))]
        elif leaf == "weights":
            factor = next((value for part, value in FACTORS.items() if part in name), 1.0)
            rule = ["normal", factor * float(np.sqrt(2 / np.prod(shape[:-1])))]
        elif "ClassPredictor/" in name:
            rule = ["uniform", -8.0, -5.0]
        else:
            rule = rules[leaf]
        tensors[name] = (shape, rule)
    return tensors


def golden(tf: types.ModuleType, published: Path, file: str, config: dict[str, Any], threshold: float) -> Golden:
    batch, pixels = nhwc(made_batch(*SIZE, SCALE)), preprocessed(tf, published)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [1, *SIZE, 3])
        found = built(config).predict(inputs, None)
        tensors = layout(shapes(tf))
        state = noisy_state(tensors)
        fill(tf, session, state)
        heads = [found["box_encodings"], found["class_predictions_with_background"]]
        deltas, logits = session.run(heads, {inputs: batch})
        in_picture = session.run(heads, {inputs: pixels})
        y0, x0, y1, x1 = session.run(found["anchors"]).T
    boxes = np.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), axis=1)
    if config is V1:
        compare(tf, published, state, batch, (deltas, logits))
    detections = suppressed(tf, published, *in_picture, threshold)
    kind, metadata = "tensorflow-bundle", {"format": "tensorflow bundle", "shards": 1, "skipped": {}}
    if file.endswith(".pb"):
        kind, metadata = "tensorflow-graph", {"format": "tensorflow graph", "ops": {"Sigmoid": 1}, "inputs": []}
        tensors[f"{SUPPRESSION}/FilterGreaterThan/Greater/y"] = ([], ["constant", threshold])
        tensors[f"{SUPPRESSION}/non_max_suppression/iou_threshold"] = ([], ["constant", 0.6])
    else:
        tensors["global_step"] = ([], ["count"])
    raw = kept(torch.from_numpy(logits[0])), kept(torch.from_numpy(deltas[0][:, [1, 0, 3, 2]].copy()))
    return Golden(file, None, tensors, SIZE, SCALE, boxes, *raw, *detections, kind=kind, metadata=metadata)


def built(config: dict[str, Any]) -> Any:
    from google.protobuf import text_format
    from object_detection.builders import model_builder
    from object_detection.protos import model_pb2

    message = model_pb2.DetectionModel()
    text_format.Parse(CONFIG % config, message)
    return model_builder.build(message, is_training=False)


def imported(tf: types.ModuleType, published: Path, threshold: float | None = None) -> None:
    """Put the published graph into the current one, perhaps with another score threshold."""
    from tensorflow.core.protobuf import meta_graph_pb2

    graph = meta_graph_pb2.MetaGraphDef()
    graph.ParseFromString(published.read_bytes())
    for node in graph.graph_def.node:
        if threshold is not None and "/FilterGreaterThan" in node.name and node.name.endswith("/Greater/y"):
            node.attr["value"].tensor.float_val[:] = [threshold]
    tf.train.import_meta_graph(graph)


def preprocessed(tf: types.ModuleType, published: Path) -> np.ndarray:
    with tf.Graph().as_default(), tf.Session() as session:
        imported(tf, published)
        return session.run("Preprocessor/sub:0", {"image_tensor:0": picture()[None]})


def compare(tf: types.ModuleType, published: Path, state: dict, batch: np.ndarray, ours: tuple) -> None:
    """Print how far the published network is from the one that the code builds."""
    with tf.Graph().as_default(), tf.Session() as session:
        imported(tf, published)
        feed = {f"{name}/read:0": tensor.numpy() for name, tensor in state.items()}
        feed |= {"Preprocessor/sub:0": batch, "image_tensor:0": picture()[None]}
        theirs = session.run(["Squeeze:0", "concat_1:0"], feed)
    print("the published graph differs by", [float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)])


def suppressed(
    tf: types.ModuleType, published: Path, deltas: np.ndarray, logits: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the published graph makes of raw outputs."""
    with tf.Graph().as_default(), tf.Session() as session:
        imported(tf, published, threshold)
        names = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
        feed = {"image_tensor:0": picture()[None], "Squeeze:0": deltas, "concat_1:0": logits}
        boxes, labels, scores, count = session.run([f"{name}:0" for name in names], feed)
    number = int(count[0])
    height, width = picture().shape[:2]
    pixels = boxes[0, :number][:, [1, 0, 3, 2]] * np.float32([width, height, width, height])
    return pixels, labels[0, :number].astype(np.int64), scores[0, :number]


if __name__ == "__main__":
    main()
