"""TensorFlow 1 for code of its time, out of TensorFlow 2: its compat.v1, and tf_slim in the place of contrib.

Needs `tensorflow-cpu==2.15.*`, `tf_keras==2.15.*` and `tf_slim`, beside what the other scripts of this folder need.
"""

import importlib
import os
import sys
import types
from collections.abc import Mapping
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from torch import Tensor

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def tensorflow_1() -> types.ModuleType:
    """The module that `import tensorflow` gives from now on."""
    for name in ("base", "convolutional", "core", "normalization", "pooling"):  # where 2.15 looks, and where they are
        sys.modules[f"tf_keras.legacy_tf_layers.{name}"] = importlib.import_module(
            f"tf_keras.src.legacy_tf_layers.{name}"
        )
    sys.modules["tf_keras.legacy_tf_layers"] = importlib.import_module("tf_keras.src.legacy_tf_layers")
    import tensorflow.compat.v1 as tf
    import tf_slim
    from tf_slim.layers import initializers, utils
    from tf_slim.ops import variables

    tf.disable_v2_behavior()
    framework = {name: getattr(tf_slim, name) for name in ("arg_scope", "add_arg_scope", "model_variable")}
    layers = {name: getattr(tf_slim, name) for name in ("xavier_initializer", "l2_regularizer", "softmax")}
    tf.contrib = MagicMock(  # what else there is must be there for an import, and is not called
        slim=tf_slim, framework=MagicMock(is_tensor=tf.is_tensor, **framework), layers=MagicMock(**layers)
    )
    _stand_in("framework.python.ops", add_arg_scope=tf_slim.add_arg_scope, arg_scope=tf_slim.arg_scope)
    _stand_in("framework.python.ops", variables=variables)
    _stand_in("layers.python.layers", initializers=initializers, utils=utils)
    _stand_in("metrics.python.ops", set_ops=None)
    _stand_in("image.python.ops", image_ops=None)
    sys.modules["tensorflow"] = tf
    return tf


def _stand_in(path: str, **contents: Any) -> None:
    """A module of tensorflow.contrib."""
    parts = path.split(".")
    for count in range(len(parts) + 1):
        name = ".".join(["tensorflow.contrib", *parts[:count]])
        sys.modules.setdefault(name, types.ModuleType(name)).__path__ = []
    vars(sys.modules[f"tensorflow.contrib.{path}"]).update(contents)


def fill(tf: types.ModuleType, session: Any, state: Mapping[str, Tensor]) -> None:
    """Give every variable of the graph its tensor.

    Raises:
        ValueError: unless names and shapes are those of `state`.
    """
    variables = {variable.op.name: variable for variable in tf.global_variables()}
    if set(variables) != set(state):
        raise ValueError(f"other variables: {sorted(set(variables) ^ set(state))[:5]}, ...")
    for name, variable in variables.items():
        variable.load(state[name].numpy(), session)


def shapes(tf: types.ModuleType) -> dict[str, list[int]]:
    """Of all variables of the graph."""
    return {variable.op.name: variable.shape.as_list() for variable in tf.global_variables()}


def nhwc(batch: Tensor) -> np.ndarray:
    """[B, 3, H, W] as TensorFlow has images."""
    return batch.permute(0, 2, 3, 1).contiguous().numpy()
