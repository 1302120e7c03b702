"""`Detector`: any image in, results out; thresholds, classes, and the forms in which others want results."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import detzoo
from detzoo.categories import COCO_91
from detzoo.components import SoftNMS
from detzoo.predict import Detector, Result, class_names, describe, read_image, to_dataframe

pytestmark = pytest.mark.usefixtures("one_thread")


def same(result, found):
    """But for the last bits, in which engines differ."""
    torch.testing.assert_close(result.found, dict(found), atol=1e-3, rtol=1e-5)


def test_results_are_those_of_the_model(model, photo):
    result = Detector(model, score_threshold=0)(photo)
    same(result, model.detect([read_image(photo)])[0])
    assert (result.path, result.size, result.names, result.ids) == (str(photo), (70, 110), ("cat", "dog"), (17, 18))
    assert len(result) > 10 and repr(result) == f"Result({photo}, 110x70 pixels, {len(result)} boxes)"


def test_one_or_many(detector, photo):
    wanted = detector(photo)
    image = read_image(photo)
    array = image.movedim(0, -1).numpy()
    for thing in (str(photo), Image.open(photo), array, image):
        same(detector(thing), wanted.found)
    for things in (
        [photo] * 3,
        (image, photo),
        image[None].expand(3, -1, -1, -1),
        np.stack([array] * 5),
        iter([photo]),
    ):
        for result in detector(things):
            torch.testing.assert_close(result.boxes, wanted.boxes, atol=1e-3, rtol=0)
    assert detector([]) == [] and len(detector(np.stack([array] * 5))) == 5


def test_stream_is_lazy_and_keeps_the_order(detector, photo):
    taken = []

    def images():
        for number in range(100):
            taken.append(number)
            yield torch.zeros(3, 20 + number, 30, dtype=torch.uint8)

    stream = detector.stream(images(), workers=2)
    assert [next(stream).size for _ in range(3)] == [(20, 30), (21, 30), (22, 30)]
    assert len(taken) < 12
    stream.close()


def test_file_that_cannot_be_read(detector, photo, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read as an image"):
        detector([photo, tmp_path / "broken.jpg"])


def test_thresholds(model, photo):
    everything = Detector(model, score_threshold=0)(photo)
    middle = everything.scores[20].item()
    kept = Detector(model, score_threshold=middle)(photo)
    same(kept, {name: column[:21] for name, column in everything.found.items()})
    assert len(Detector(model, score_threshold=0, iou_threshold=0.05)(photo)) < len(everything)


def test_a_threshold_below_that_of_the_model(model, photo):
    model.postprocess.score_threshold = 0.9
    assert len(Detector(model, score_threshold=0.05)(photo)) > 10


def test_scores_that_suppression_lowers_are_held_against_the_threshold(model, photo):
    model.postprocess = SoftNMS(detections_per_image=None)
    everything = Detector(model, score_threshold=0)(photo)
    middle = everything.scores.median().item()
    kept = Detector(model, score_threshold=middle)(photo)
    assert 0 < len(kept) < len(everything) and kept.scores.min() >= middle


def test_the_model_is_left_as_it_is(model, photo):
    model.train()
    before, state = model.postprocess.score_threshold, {name: x.clone() for name, x in model.state_dict().items()}
    Detector(model, score_threshold=0.3, iou_threshold=0.1, precision="bfloat16")(photo)
    assert model.training and (model.postprocess.score_threshold, model.postprocess.iou_threshold) == (before, 0.45)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_classes(model, photo):
    everything = Detector(model, score_threshold=0)(photo)
    dogs = Detector(model, score_threshold=0, classes=["dog"])(photo)
    assert len(dogs) and (dogs.labels == 2).all()
    assert torch.equal(dogs.scores, everything.scores[everything.labels == 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 2}, "score_threshold must lie in"),
        ({"iou_threshold": -1}, "iou_threshold must lie in"),
        ({"classes": ["cat", "dgo"]}, "no class 'dgo': did you mean 'dog'"),
        ({"classes": "cat"}, "expected a list of names"),
        ({"batch_size": 0}, "expected at least 1"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"device": "gpu"}, "no device 'gpu'"),
        ({"backend": "eagre"}, "unknown backend 'eagre': did you mean 'eager'"),
        ({"precision": "int8"}, "backend eager computes in"),
    ],
)
def test_options_that_are_wrong(model, options, message):
    with pytest.raises(ValueError, match=message):
        Detector(model, **options)


def test_suppression_that_has_no_thresholds(model):
    model.postprocess = torch.nn.Identity()
    with pytest.raises(ValueError, match="Identity has no score_threshold"):
        Detector(model)


def test_a_backend_is_asked_for_the_engine(model, photo, monkeypatch):
    asked = []

    class Engine:
        def detect(self, images):
            found = {"boxes": torch.ones(1, 4).half(), "labels": torch.tensor([2]), "scores": torch.ones(1).half()}
            return [found for _ in images]

    def accelerate(model, backend, precision="float32", *, device=None, calibration=None):
        asked.append((model.postprocess.iou_threshold, backend, precision, device, [x.shape for x in calibration]))
        return Engine()

    monkeypatch.setattr("detzoo.predict.detector.accelerate", accelerate)
    options = {"backend": "fast", "precision": "int8", "device": "cpu", "calibration": [photo], "iou_threshold": 0.2}
    result = Detector(model, **options)(photo)
    assert asked == [(0.2, "fast", "int8", torch.device("cpu"), [(3, 70, 110)])]
    assert result.boxes.dtype == result.scores.dtype == torch.float32 and result.labels.tolist() == [2]


# ---- results ----

FOUND = {
    "boxes": torch.tensor([[1.25, 2, 30, 40.5], [0, 0, 10, 10]]),
    "labels": torch.tensor([2, 1]),
    "scores": torch.tensor([0.75, 0.5]),
}


@pytest.fixture
def result():
    image = torch.full((3, 50, 60), 128, dtype=torch.uint8)
    return Result("a.jpg", (50, 60), **FOUND, names=("cat", "dog"), ids=(17, 18), image=image)


def test_coco_rows(result):
    assert result.to_coco(139) == [
        {"image_id": 139, "category_id": 18, "bbox": [1.25, 2, 28.75, 38.5], "score": 0.75},
        {"image_id": 139, "category_id": 17, "bbox": [0, 0, 10, 10], "score": 0.5},
    ]


@pytest.mark.filterwarnings("ignore:OpenCV")
def test_supervision(result):
    supervision = pytest.importorskip("supervision")
    detections = result.to_supervision()
    assert isinstance(detections, supervision.Detections) and len(detections) == 2
    np.testing.assert_array_equal(detections.xyxy, FOUND["boxes"])
    assert detections.class_id.tolist() == [1, 0] and detections.confidence.tolist() == [0.75, 0.5]
    assert detections["class_name"].tolist() == ["dog", "cat"]
    empty = Result(None, (5, 5), torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), ("cat",), (1,))
    assert len(empty.to_supervision()) == 0


def test_dataframe(result):
    pytest.importorskip("pandas")
    table = to_dataframe([result, result])
    assert list(table.columns) == ["image", "label", "score", "xmin", "ymin", "xmax", "ymax"]
    assert table.values.tolist()[2] == ["a.jpg", "dog", 0.75, 1.25, 2, 30, 40.5] and len(table) == 4
    assert len(result.to_dataframe()) == 2


@pytest.mark.parametrize(("name", "method"), [("supervision", "to_supervision"), ("pandas", "to_dataframe")])
def test_packages_that_are_not_there(result, monkeypatch, name, method):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=f"needs the package {name}: pip install 'detzoo.{name}.'"):
        getattr(result, method)()


def test_drawing(result, photo, detector):
    assert result.draw().size == (60, 50) and result.draw(enlarge=True).size == (480, 400)
    assert (np.asarray(result.draw()) != 128).any()
    floats = Result(None, (50, 60), **FOUND, names=("cat", "dog"), ids=(1, 2), image=torch.full((3, 50, 60), 0.502))
    np.testing.assert_array_equal(floats.draw(), result.draw())
    from_file = detector(photo)
    assert from_file.image is None and from_file.draw().size == (110, 70), "its file is read again"


def test_names(model):
    assert class_names(model) == ["cat", "dog"]
    model.categories = None
    assert class_names(model) == ["class 1", "class 2"]
    model.categories = COCO_91
    names = class_names(model)
    assert names[0] == "person" and names[11] == "class 12 (N/A)"


def test_lines():
    found = {"boxes": torch.tensor([[1.25, 2, 30, 400.06]]), "labels": torch.tensor([2]), "scores": torch.tensor([0.5])}
    assert describe(found, ["cat", "dog"]) == ["dog              0.500      1.2     2.0    30.0   400.1"]


def test_at_the_top_of_the_package_and_only_when_asked_for():
    assert detzoo.Detector is Detector
    with pytest.raises(AttributeError, match="no attribute 'Detectr'"):
        _ = detzoo.Detectr
    code = "import sys, detzoo; assert 'detzoo.predict' not in sys.modules; detzoo.Detector"
    subprocess.run([sys.executable, "-c", code], check=True)
