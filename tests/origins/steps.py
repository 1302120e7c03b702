"""A golden file step by step, so that a test can take one of the steps as a naive import would."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goldens import PICTURE, Golden, found_apart, made_batch, rows_of
from PIL import Image
from torch import Tensor, nn

from detzoo.components.default_boxes import DefaultBoxGenerator
from detzoo.components.postprocess import Postprocess
from detzoo.components.preprocess import Preprocess, ToRGB
from detzoo.importers import Foreign, choose, convert
from detzoo.importers.readers import Container
from detzoo.models.opening import build_imported
from detzoo.ops import xyxy_to_cxcywh
from detzoo.structures import Predictions


def hollow(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors that take no memory."""
    return {name: torch.zeros(()).expand(tuple(shape)) for name, shape in shapes.items()}


def foreign_of(tensors: Mapping[str, Tensor], content: Mapping[str, Any] | None = None) -> Foreign:
    """A file of PyTorch as the reader gives it."""
    return Foreign.of(Container("torch", dict(tensors), {"content": dict(content or {})}, Path("somewhere/mine.pth")))


class Steps:
    """What an original does, and detzoo, one step after the other."""

    def __init__(self, name: str) -> None:
        self.golden = Golden.read(name)
        self.foreign = self.golden.foreign()
        self.imported = convert(self.foreign, choose(self.foreign, self.golden.origin))
        self.model, self.config = build_imported(self.imported)

    def default_boxes_apart(self, generator: DefaultBoxGenerator) -> np.ndarray:
        """How far each default box is from the original's, [A], as a fraction of the image."""
        grids, (height, width) = [tuple(x.shape[-2:]) for x in self.maps], self.golden.size
        boxes = xyxy_to_cxcywh(generator(grids, (height, width))) / torch.tensor((width, height, width, height))
        return np.abs(boxes.numpy() - self.golden.default_boxes).max(axis=1)

    @cached_property
    @torch.no_grad()
    def maps(self) -> list[Tensor]:
        return self.model.backbone(made_batch(*self.golden.size, self.golden.scale))

    def head_with(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The head with these weights, under the names of the whole detector."""
        head = deepcopy(self.model.head)
        head.load_state_dict({key.removeprefix("head."): state[key] for key in state if key.startswith("head.")})
        return head

    @torch.no_grad()
    def raw_apart(self, head: nn.Module) -> float:
        """How far the outputs of a head are from the original's, relative to the largest."""
        apart = [
            np.abs(ours[0].numpy()[rows_of(ours.shape[1])] - theirs).max() / np.abs(theirs).max()
            for ours, theirs in zip(head(self.maps), (self.golden.logits, self.golden.deltas), strict=True)
        ]
        return float(max(apart))

    @cached_property
    def predictions(self) -> Predictions:
        return self.predictions_after(self.model.preprocess)

    @torch.no_grad()
    def predictions_after(self, preprocess: Preprocess) -> Predictions:
        """For the picture."""
        return self.model.predict(preprocess([picture()]))

    def as_the_original(self, predictions: Predictions, postprocess: Postprocess) -> bool:
        """Whether these detections are those of the original."""
        model = self.model
        boxes = model.coder.decode(predictions.deltas, predictions.default_boxes)
        found = postprocess(model.loss.scores(predictions.logits), boxes, self.golden.size, predictions.levels)
        (found,) = model.preprocess.undo(found, [picture()])
        apart = found_apart(self.golden, {key: tensor.numpy() for key, tensor in found.items()})
        return apart["boxes"] < 1e-2 and apart["scores"] < 1e-4


def picture() -> Tensor:
    return ToRGB()(Image.open(PICTURE))
