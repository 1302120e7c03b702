"""Caffe's trained nets (.caffemodel), without Caffe and without protobuf.

Source: caffe.proto, as `caffe_schema` says.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .caffe_schema import ENUMS, MESSAGES, Known
from .protobuf import Field, Message, fields, integer, last, message, numbers, text, varints
from .prototxt import read_prototxt
from .source import AGAIN, Source

Parameters = dict[str, Any]
BLOBS = {100: 7, 2: 6}  # the field of a layer's blobs, in a layer of today and an old one
# Of a blob, the fields that hold numbers. Raw ones (NVIDIA) say their type in field 10.
_DATA, _DOUBLES, _RAW_TYPE, _RAW = 5, 8, 10, 12
_RAW_TYPES = {0: torch.float64, 1: torch.float32, 2: torch.float16}


def read_caffe(
    source: Source, companion: Path | None, own_only: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The blobs, and the metadata (see `Container`).

    Args:
        source: the .caffemodel.
        companion: its prototxt. By default, of the files with its name and `deploy.prototxt` beside it the first that
            describes this net, if any.
        own_only: leave `deploy.prototxt` alone, which may be of any net in that folder.
    """
    tensors: dict[str, Tensor] = {}
    layers, name, old = [], "", False
    for field in fields(source, 0, source.size):
        if field.number == 1:
            name = text(source, field)
        elif field.number in BLOBS:
            old = field.number == 2
            layers.append(_layer(source, field, tensors))
    path, content = _find_prototxt(source.path, companion, own_only, [one for one in layers if one["blobs"]])
    metadata = {
        "format": "caffe v1 layers" if old else "caffe",
        "name": name,
        "layers": layers,
        "prototxt": content,
        "prototxt_path": path,
    }
    return tensors, metadata


def _layer(source: Source, field: Field, tensors: dict[str, Tensor]) -> Parameters:
    """A layer's parameters; its blobs go to `tensors`."""
    found = message(source, field)
    parameters = _decode(source, found, "Layer" if field.number == 100 else "OldLayer")
    name = parameters.setdefault("name", "")
    blobs = [_blob(source, blob, name) for blob in found.get(BLOBS[field.number], [])]
    for index, blob in enumerate(blobs):
        if f"{name}.{index}" in tensors:
            raise ValueError(f"two layers with weights are called {name!r}: expected one of a name; {AGAIN}")
        tensors[f"{name}.{index}"] = blob
    return parameters | {"blobs": [tuple(blob.shape) for blob in blobs]}


def _blob(source: Source, field: Field, layer: str) -> Tensor:
    found = message(source, field)
    values = _values(source, found, f"a blob of layer {layer!r}")
    shape = _shape(source, found)
    if min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"layer {layer!r} has a blob of shape {shape} with {len(values)} numbers: {AGAIN}")
    return values.reshape(shape)


def _values(source: Source, found: Message, what: str) -> Tensor:
    if _RAW in found:
        kind = integer(found, _RAW_TYPE)
        if kind not in _RAW_TYPES:
            raise ValueError(f"{what} has raw numbers of type {kind}: expected one of {_RAW_TYPES}")
        return numbers(source, found[_RAW], _RAW_TYPES[kind], what)
    if _DOUBLES in found:
        return numbers(source, found[_DOUBLES], torch.float64, what)
    return numbers(source, found.get(_DATA, []), torch.float32, what)


def _shape(source: Source, found: Message) -> tuple[int, ...]:
    """BlobShape; in old files num, channels, height, width instead."""
    if shape := last(found, 7):
        return tuple(varints(source, message(source, shape).get(1, [])))
    return tuple(integer(found, number) for number in (1, 2, 3, 4))


def _decode(source: Source, found: Message, kind: str) -> Parameters:
    """A message as a dict in the form of a prototxt: fields that are not there stay out, repeated ones are lists."""
    result: Parameters = {}
    for number, known in MESSAGES[kind].items():
        if number in found:
            values = _repeated(source, found[number], known)
            if values:
                result[known.name] = values if known.repeated else values[-1]
    return result


def _repeated(source: Source, found: list[Field], known: Known) -> list[Any]:
    if known.type == "text":
        return [text(source, field) for field in found]
    if known.type in MESSAGES:
        return [_decode(source, message(source, field), known.type) for field in found]
    if known.type == "float":
        # The shortest decimal that gives this float32: what the prototxt said.
        return [float(str(np.float32(v))) for v in numbers(source, found, torch.float32, known.name).tolist()]
    values = varints(source, found)
    if known.type == "bool":
        return [value != 0 for value in values]
    return [ENUMS[known.type].get(value, value) for value in values] if known.type in ENUMS else values


def _find_prototxt(
    path: Path, companion: Path | None, own_only: bool, layers: list[Parameters]
) -> tuple[str | None, Parameters | None]:
    """The prototxt of the net with these layers, which have weights, and where it is."""
    shared = [] if own_only else [path.with_name("deploy.prototxt")]
    for beside in [companion] if companion else [path.with_suffix(".prototxt"), *shared]:
        if companion or beside.is_file():
            content = read_prototxt(beside)
            problem = _another_net(content, layers)
            if problem is None:
                return str(beside), content
            if companion:
                raise ValueError(f"{companion} is of another net: {problem}")
    return None, None


def _another_net(content: Parameters, layers: list[Parameters]) -> str | None:
    """Why a prototxt does not describe the net with these layers, which have weights; None if it does.

    Several nets share most names of layers, so all have to be there, with as many outputs, and no convolution more.
    """
    said = [layer for layer in content.get("layer", []) + content.get("layers", []) if isinstance(layer, dict)]
    known = {layer.get("name"): layer for layer in said}
    for layer in layers:
        if layer["name"] not in known:
            return f"the layer {layer['name']!r}, which has weights, is not in it"
        outputs, shape = known[layer["name"]].get("convolution_param", {}).get("num_output"), layer["blobs"][0]
        if outputs is not None and shape[:1] != (outputs,):
            return f"the layer {layer['name']!r} has {outputs} outputs in it, and weights of shape {shape} here"
    there = {layer["name"] for layer in layers}
    more = [name for name, layer in known.items() if "convolution_param" in layer and name not in there]
    return f"its convolution {more[0]!r} has no weights here" if more and layers else None
