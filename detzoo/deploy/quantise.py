"""Networks in 8-bit integers, by NNCF's quantisation after training."""

import logging
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Any

from torch import Tensor


def quantise(model: Any, batches: Iterable[Tensor]) -> Any:
    """An `openvino.Model` with weights and activations in 8 bits, where that is worth it.

    Args:
        model: a network of one input.
        batches: normalised images [1, 3, S, S] like those to come, by which ranges are chosen.

    Raises:
        ValueError: for no images at all.
    """
    import nncf

    images = [batch.numpy() for batch in batches]
    if not images:
        raise ValueError("got no images to calibrate on: int8 chooses its ranges by what the network makes of some")
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # its bars are no result
        # symmetric for weights, asymmetric for activations: those after hard-swish are mostly positive
        return nncf.quantize(model, nncf.Dataset(images), preset=nncf.QuantizationPreset.MIXED, subset_size=len(images))
