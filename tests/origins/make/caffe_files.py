"""Caffe's files, written here, and what OpenCV's reading of them says."""

import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from common import kept, picture
from goldens import Fill, Golden, made_batch, noisy_state
from torch import Tensor, from_numpy

from detzoo.importers.readers import Container, read_container

LOOKED_AT = (
    "PriorBox",
    "DetectionOutput",
    "Input",
    "AnnotatedData",
)  # layers of which a golden file keeps what is said
SPREAD = 50.0  # of pixels less their mean
Layout = dict[str, tuple[list[int], Fill]]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A field of a protocol buffer: integers as varints, floats in 4 bytes, the rest with its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def blob(tensor: Tensor) -> bytes:
    """BlobProto: shape, data."""
    values = tensor.numpy().astype("<f4")
    return field(7, field(1, b"".join(map(varint, values.shape)))) + field(5, values.tobytes())


def layer(name: str, kind: str, *fields: bytes) -> bytes:
    """LayerParameter in a NetParameter."""
    return field(100, field(1, name) + field(2, kind) + b"".join(fields))


def prior_box(name: str, minimum: float, maximum: float, ratios: Sequence[float], step: float) -> bytes:
    """A PriorBox layer as Caffe saves it with the weights."""
    numbers = [field(1, float(minimum)), field(2, float(maximum)), *(field(3, float(ratio)) for ratio in ratios)]
    numbers += [field(4, 1), field(5, 0), *(field(6, variance) for variance in (0.1, 0.1, 0.2, 0.2))]
    return layer(name, "PriorBox", field(203, b"".join(numbers) + field(10, float(step)) + field(13, 0.5)))


def data(size: int, mean: Sequence[float]) -> bytes:
    """The layer that a training net begins with, trained on images that are warped by OpenCV in five ways."""
    resize = field(1, 1.0) + field(2, 1) + field(3, size) + field(4, size)
    resize += b"".join(field(7, way) for way in (1, 2, 3, 4, 5))
    transform = field(2, 1) + b"".join(field(5, value) for value in mean) + field(8, resize)
    return layer("data", "AnnotatedData", field(100, transform))


def model(name: str, tensors: Mapping[str, Tensor], kinds: Mapping[str, str], more: Sequence[bytes] = ()) -> bytes:
    """A .caffemodel.

    Args:
        name: of the net.
        tensors: `layer.0`, `layer.1`, ...: those of a layer follow one another.
        kinds: types of the layers that are no convolutions.
        more: other layers.
    """
    blobs: dict[str, list[bytes]] = {}
    for key, tensor in tensors.items():
        blobs.setdefault(key.rpartition(".")[0], []).append(field(7, blob(tensor)))
    layers = [layer(key, kinds.get(key, "Convolution"), *found) for key, found in blobs.items()]
    return field(1, name) + b"".join([*layers, *more])


def container_of(file: str, weights: bytes, prototxt: str | None) -> Container:
    """What the readers make of these files."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_bytes(weights)
        if prototxt is not None:
            path.with_name("deploy.prototxt").write_text(prototxt)
        return read_container(path)


def metadata_of(container: Container) -> dict:
    """What importers look at, of a container's metadata."""
    found = container.metadata
    small = {"name": found["name"], "format": found["format"], "layers": _looked_at(found["layers"]), "prototxt": None}
    if found["prototxt"] is not None:
        small["prototxt"] = {**found["prototxt"], "layer": _looked_at(found["prototxt"]["layer"])}
    return {**small, "prototxt_path": found["prototxt"] and "deploy.prototxt"}


def _looked_at(layers: Sequence[dict]) -> list[dict]:
    return [one for one in layers if one.get("type") in LOOKED_AT]


def golden(
    file: str,
    layout: Layout,
    kinds: Mapping[str, str],
    prototxt: str,
    mean: Sequence[float],
    scale: float,
    size: int,
    *,
    said: str | None,
    more: Sequence[bytes] = (),
    name: str = "net",
    origin: str | None = None,
) -> Golden:
    """What OpenCV finds with the weights of a layout.

    Args:
        file: name of the weights.
        layout: of the tensors.
        kinds: see `model`.
        prototxt: the net that OpenCV runs.
        mean: of bytes, blue first.
        scale: what pixels less the mean are multiplied by.
        size: of the input, a side.
        said: the prototxt that lies beside the weights, if any.
        more: layers that the weights repeat.
        name: of the net in the weights.
        origin: see `Golden`.
    """
    state = noisy_state(layout)
    weights = model(name, state, kinds, more)
    container = container_of(file, weights, said)
    assert all((container.tensors[key].numpy() == state[key].numpy()).all() for key in state)
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(prototxt.encode(), np.uint8), np.frombuffer(weights, np.uint8))
    net.enableFusion(False)
    net.enableWinograd(False)
    noise_scale = SPREAD * scale
    net.setInput(made_batch(size, size, noise_scale).numpy()[:, ::-1].copy())
    loc, conf, priors = net.forward(["mbox_loc", "mbox_conf", "mbox_priorbox"])
    corners = priors[0, 0].reshape(-1, 4)
    boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    found = _detections(net, size, mean, scale)
    return Golden(
        file,
        origin,
        layout,
        (size, size),
        noise_scale,
        boxes,
        kept(from_numpy(conf.reshape(len(boxes), -1))),
        kept(from_numpy(loc.reshape(-1, 4))),
        *found,
        kind="caffe",
        metadata=metadata_of(container),
    )


def _detections(
    net: cv2.dnn.Net, size: int, mean: Sequence[float], scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `ssd_detect.cpp` and `demo.py` do it: OpenCV's image, resized as bytes, less its mean."""
    image = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR)
    pixels = (cv2.resize(image, (size, size)) - np.asarray(mean)) * scale
    net.setInput(pixels.astype(np.float32).transpose(2, 0, 1)[None].copy())
    rows = net.forward("detection_out")[0, 0]  # image, label, score, corners
    rows = rows[rows[:, 1] > 0]  # what is not needed of keep_top_k rows is zero
    rows = rows[np.argsort(-rows[:, 2], kind="stable")]
    height, width = image.shape[:2]
    return rows[:, 3:] * np.float32([width, height, width, height]), rows[:, 1].astype(np.int64), rows[:, 2]
