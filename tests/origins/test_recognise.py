"""Whose file is it? Recognised where that is certain, asked where it is not, never guessed."""

from pathlib import Path

import pytest
import torch
from goldens import Golden, names

from detzoo.importers import ORIGINS, Foreign, Imported, Reading, choose, foreign_in, import_file, readings_of
from detzoo.importers.origin import split_classes
from detzoo.importers.readers import Container
from detzoo.models import MODELS

FILE = Path("somewhere/weights.pth")


def foreign(**tensors: torch.Tensor) -> Foreign:
    state = tensors or {"a.weight": torch.zeros(1)}
    return Foreign(Container("torch", state, {"content": {}}, FILE), state)


def convert(_: Foreign) -> Imported:
    return Imported("ssd300_vgg16", {"num_classes": 2}, {})


def origins(*readings: Reading) -> dict:
    """A project `one` with these readings, and a project `two` that knows no file."""
    return {"one": lambda _: list(readings), "two": lambda _: []}


FIRST, SECOND = Reading("one/a", "the first", convert), Reading("one/b", "the second", convert)
HINTED = Reading("one/c", "what the name says", convert, hinted=True)


def test_the_only_reading():
    assert choose(foreign(), origins=origins(FIRST)) is FIRST


def test_two_readings_are_asked_about_with_the_words_to_answer_in():
    with pytest.raises(ValueError, match="several things") as caught:
        choose(foreign(), origins=origins(FIRST, SECOND))
    assert "origin='one/a': the first" in str(caught.value) and "origin='one/b': the second" in str(caught.value)
    assert str(FILE) in str(caught.value)


def test_answer():
    assert choose(foreign(), "one/b", origins(FIRST, SECOND)) is SECOND
    assert choose(foreign(), "one", origins(FIRST)) is FIRST


def test_the_name_of_the_file_decides_but_not_against_the_user():
    assert choose(foreign(), origins=origins(FIRST, HINTED)) is HINTED
    assert choose(foreign(), "one", origins(FIRST, HINTED)) is HINTED
    assert choose(foreign(), "one/a", origins(FIRST, HINTED)) is FIRST


def test_two_hints_are_none():
    other = Reading("one/d", "the same", convert, hinted=True)
    with pytest.raises(ValueError, match="one/c.*\n.*one/d"):
        choose(foreign(), origins=origins(HINTED, other))


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("three", "unknown origin 'three'"),
        ("two", "is no file of two: its tensors are those of one/a"),
        ("one/z", "is no file of one/z: its tensors are those of one/a"),
    ],
)
def test_wrong_answers(origin, message):
    with pytest.raises(ValueError, match=message):
        choose(foreign(), origin, origins(FIRST))


def test_nobodys_file_is_described(tmp_path):
    path = tmp_path / "classifier.pth"
    torch.save({"features.0.weight": torch.zeros(2), "fc.bias": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="fit no detector of") as caught:
        import_file(path)
    assert str(path) in str(caught.value) and "2 tensors ('features.0.weight', 'fc.bias', ...)" in str(caught.value)


def blank(golden: Golden) -> Foreign:
    """The file of a golden; names and shapes are enough to recognise it, so its weights are zeros."""
    state = {key: torch.zeros(shape) for key, (shape, _) in golden.layout.items()}
    return Foreign.of(Container(golden.kind, state, golden.metadata or {"content": {}}, Path(golden.file)))


def projects(file: Foreign) -> set[str]:
    return {reading.name.partition("/")[0] for reading in readings_of(file)}


@pytest.mark.parametrize("name", names())
def test_a_file_is_of_one_project_only(name):
    golden = Golden.read(name)
    file = blank(golden)
    assert len(projects(file)) == 1, projects(file)
    assert (
        choose(file, golden.origin).name.partition("/")[0].replace(".", "_").replace("-", "_") == name.partition("-")[0]
    )


def test_every_origin_has_a_golden_file():
    """What is recognised has been held against its original; torchvision is at hand itself, see tests/parity."""
    read = set().union(*(projects(blank(Golden.read(name))) for name in names()))
    assert set(ORIGINS) - read == {"torchvision"}


PUBLISHED = [weights for entry in MODELS.values() for weights in entry.weights or () if "golden" in weights.meta]


@pytest.mark.parametrize("weights", PUBLISHED, ids=str)
def test_a_published_file_is_read_as_the_catalogue_says(weights):
    """By the tensors that its original's code saves, under the name that it is published with."""
    golden, value = Golden.read(weights.meta["golden"]), weights.value
    file = blank(golden)
    name = value.file or Path(value.member or value.url).name
    named = Foreign(file.container._replace(path=FILE.with_name(name)), file.state)
    assert choose(named, value.reading).name in (value.reading, *(r.name for r in readings_of(named) if r.hinted))


def test_the_page_lists_every_origin():
    page = (Path(__file__).parents[2] / "references" / "IMPORTING.md").read_text(encoding="utf-8")
    assert [name for name in ORIGINS if f"| `{name}" not in page] == []


@pytest.mark.parametrize("shape", [(), (0,), (85,), (84, 1)])
def test_a_bias_that_is_none(shape):
    with pytest.raises(ValueError, match=r"conf.0.bias: the shape .* cannot be that of 4 boxes of a cell"):
        split_classes(torch.zeros(shape), 4, "conf.0.bias")


def test_a_prefix_of_three_modules_is_taken_off_and_no_longer_one():
    """Each costs a look at all names."""
    known = {"one": lambda file: [FIRST] if file.has("a.weight") else []}
    looked = []
    known["two"] = lambda file: looked.append(file.prefix) or []
    file = foreign(**{"x.y.z.a.weight": torch.zeros(1)}).container
    assert foreign_in(file, known).prefix == "x.y.z."
    file = file._replace(tensors={"x." * 400 + "a.weight": torch.zeros(1)})
    looked.clear()
    assert foreign_in(file, known).prefix == "" and len(looked) <= 4


def test_a_name_beyond_all_length(tmp_path):
    from safetensors.torch import save_file

    save_file({"x." * 600 + "weight": torch.zeros(1)}, tmp_path / "long.safetensors")
    with pytest.raises(ValueError, match="long.safetensors: a tensor has a name of 1,206 characters, 'x.x."):
        import_file(tmp_path / "long.safetensors")
