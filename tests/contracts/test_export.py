"""Every member of the zoo exports to ONNX at all three levels, and says there what it says in PyTorch.

Tracing takes most of the time, so one graph has the outputs of all levels; they are compared level by level, as
`detzoo.deploy.export` does.
"""

import copy
import importlib.util

import pytest
import torch
from torch.export import Dim

import detzoo
from detzoo.deploy.check import STRAY, compare
from detzoo.deploy.export import PICTURE_SIZES, PICTURES, batches_of
from detzoo.deploy.keep import keep
from detzoo.deploy.levels import LEVELS, Suppressed
from detzoo.deploy.look_trained import drawn_pictures, look_trained
from detzoo.deploy.program import EXACT, Program
from detzoo.deploy.to_onnx import open_onnx, write_onnx
from detzoo.models import MODELS

pytest.importorskip("onnxruntime", reason="needs pip install detzoo[onnx]")
pytest.importorskip("onnxscript", reason="needs pip install detzoo[onnx]")
NEEDS_TIMM = pytest.mark.skipif(not importlib.util.find_spec("timm"), reason="needs pip install detzoo[timm]")
OUTPUTS = [(level, name) for level, module in LEVELS.items() for name in module.outputs]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class AllLevels(Suppressed):
    """The outputs of all levels of one network."""

    outputs = tuple(f"{level}_{name}" for level, name in OUTPUTS)

    def forward(self, images):
        logits, deltas = self.predict(images)
        boxes, scores = self._decode(logits, deltas)
        return logits, deltas, self.default_boxes, boxes, scores, *self._suppress(boxes, scores)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[NEEDS_TIMM] * ("timm" in name)) for name in MODELS])
def test_every_model_says_the_same_in_onnx_at_all_levels(name, tmp_path):
    torch.manual_seed(0)
    model = look_trained(detzoo.get_model(name, num_classes=5)).requires_grad_(False)
    module = AllLevels(copy.deepcopy(model), keep=keep).eval()
    batches = batches_of(model.preprocess, drawn_pictures(PICTURES, PICTURE_SIZES[0]), "pixels", (1, 2, 3))
    write_onnx(Program(module, batches[1], {0: Dim("batch", min=1)}, {}), tmp_path / "model.onnx")
    session = open_onnx(tmp_path / "model.onnx")
    for level, part in LEVELS.items():
        places = [place for place, (of, _) in enumerate(OUTPUTS) if of == level]

        def run(images, places=places):
            found = session(images)
            return [found[place] for place in places]

        differences = compare(model, run, part.outputs, "pixels", batches, EXACT)
        assert differences.keys() >= ({"boxes", "scores", STRAY} if level == "nms" else set(part.outputs))
        assert all(value < 1 for value in differences.values())
