"""Names and dotted paths to things, options against signatures, and what the messages say."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from detzoo import lookup
from detzoo.lookup import ConfigError, build_part, fits, option_problems, resolve_part, split_part, suggest


class Box:
    """A part with every kind of option."""

    def __init__(
        self, side: float, *, colour: Literal["red", "blue"] = "red", holes: Sequence[int] = (), channels: int = 3
    ) -> None:
        self.given = {"side": side, "colour": colour, "holes": holes, "channels": channels}


def ball(radius: float = 1.0) -> str:
    return f"ball of {radius}"


TABLE = {"ball": ball, "box": Box}


class Toys(dict):
    """A table that knows more names than it lists."""

    families = {"hoop/...": lambda width=1: width}


def test_suggest_the_nearest_word_or_all_of_them():
    assert suggest("vgg_16", ["vgg16", "resnet50"]) == "did you mean 'vgg16'?"
    assert suggest("zzz", ["b", "a"]) == "expected one of: a, b"
    assert "(none)" in suggest("zzz", [])


def test_name_or_dotted_path():
    assert lookup.lookup(TABLE, "box", "toy") is Box
    assert lookup.lookup(TABLE, "collections.OrderedDict", "toy") is OrderedDict


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bxo", "unknown toy 'bxo': did you mean 'box'?"),
        ("no_such_package.Toy", "toy 'no_such_package.Toy': cannot import 'no_such_package'"),
        ("collections.OrderedDitc", "no 'OrderedDitc'; did you mean 'OrderedDict'?"),
        ("collections..OrderedDict", "cannot import 'collections.'"),
        (".Toy", "cannot import ''"),
        ("..Toy", "cannot import '.'"),
    ],
)
def test_name_that_leads_nowhere(name, message):
    with pytest.raises(ValueError) as caught:
        lookup.lookup(TABLE, name, "toy")
    assert message in str(caught.value)


def test_two_ways_to_write_a_part():
    assert split_part("box", "toy") == ("box", {})
    assert split_part({"name": "box", "side": 2}, "toy") == ("box", {"side": 2})


@pytest.mark.parametrize("part", [None, 3, {"side": 2}, {"name": 3}, ["box"]])
def test_no_part(part):
    with pytest.raises(ValueError, match="toy: expected a name or a mapping with a 'name'"):
        split_part(part, "toy")


def test_build_with_options_and_what_others_derive():
    made = build_part(TABLE, {"name": "box", "side": 2}, "toy", channels=7, unheard_of=1)
    assert made.given == {"side": 2, "colour": "red", "holes": (), "channels": 7}
    assert build_part(TABLE, "ball", "toy", channels=7) == "ball of 1.0"


def test_all_problems_at_once():
    part = {"name": "box", "colour": "green", "hoels": [1], "channels": 7}
    with pytest.raises(ConfigError) as caught:
        resolve_part(TABLE, part, "toy", derived=["channels"])
    assert caught.value.problems == [
        "toy.colour = 'green' (str): expected one of 'red', 'blue'",
        "toy has no option 'hoels': did you mean 'holes'?",
        "toy.channels is derived from the other parts and cannot be set: remove it",
        "toy needs the option 'side' (float)",
    ]
    assert str(caught.value).startswith("the config has 4 problems:\n  - toy.colour")


def test_options_left_over_from_another_part():
    """Of a preset's, when its name is replaced: what is needed is said, and where they belong."""
    part = {"name": "ball", "colour": "red", "holes": [], "radios": 1, "width": 2}
    with pytest.raises(ConfigError) as caught:
        resolve_part(Toys(TABLE), part, "toy", path="child.toy")
    assert caught.value.problems == [
        "toy has no option 'radios': did you mean 'radius'?",
        "toy 'ball' has no option 'colour' (of 'box'), 'holes' (of 'box'), 'width' (of 'hoop/...'): what is left over "
        "from another part goes with child.toy=ball, which replaces that part as a whole; to set options of it, say "
        "child.toy=null child.toy.name=ball child.toy.OPTION=VALUE",
    ]
    with pytest.raises(
        ConfigError, match="another part goes where the part is replaced as a whole: toy={'name': 'ball', "
    ):
        resolve_part(TABLE, {"name": "ball", "colour": "red"}, "toy")


@pytest.mark.parametrize("path", [None, "child.toy"])
def test_an_option_of_another_part_that_may_be_a_misspelt_one(path):
    table = {**TABLE, "wheel": lambda radios=1, chanels=3: None}
    with pytest.raises(
        ConfigError, match="no option 'radios' .of 'wheel'.*; instead of 'radios', did you mean 'radius'.$"
    ):
        resolve_part(table, {"name": "ball", "radios": 2}, "toy", path=path)
    with pytest.raises(ConfigError) as caught:  # what cannot be set is not proposed, nor what is far away
        resolve_part(table, {"name": "box", "side": 1, "chanels": 4}, "toy", derived=["channels"], path=path)
    assert "did you mean" not in str(caught.value)


def test_options_without_their_name():
    with pytest.raises(ValueError, match=r"got {'side': 2}: say toy.name=NAME as well"):
        split_part({"side": 2}, "toy")


@pytest.mark.parametrize("path", ["os.path", "math.pi", "builtins.dict"])
def test_what_makes_no_part(path):
    with pytest.raises(ConfigError, match=f"toy '{path}' is .*: expected a class, or a function that makes the part"):
        resolve_part(TABLE, path, "toy")


def test_a_derived_name_is_not_proposed():
    assert "channels" not in option_problems(Box, {"side": 1, "chanels": 7}, "toy", ["channels"])[0]


def test_a_key_that_is_no_word():
    assert option_problems(ball, {16: 1.0}, "toy") == ["toy has no option 16: expected one of: radius"]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3, int),
        (3, float),
        (3.5, float),
        (True, bool),
        (None, float | None),
        (None, type(None)),
        ("a", str),
        ("red", Literal["red", "blue"]),
        ([1, 2], tuple[int, int]),
        ((1, 2), Sequence[float]),
        ([[1, 2], []], Sequence[Sequence[float]]),
        ([1, 2, 3], tuple[int, ...]),
        ({"a": 1}, Mapping[str, int]),
        (object(), Any),
    ],
)
def test_fits(value, hint):
    assert fits(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (3.5, int),
        ("3", float),
        (True, int),
        (True, float),
        (1, bool),
        (None, float),
        ("green", Literal["red", "blue"]),
        (True, Literal[1, 2]),
        ([1, 2, 3], tuple[int, int]),
        ([1, "2"], tuple[int, int]),
        ("12", Sequence[float]),
        ([1, None], Sequence[float]),
        ([1, 2], Sequence[Sequence[float]]),
        ({"a": "1"}, Mapping[str, int]),
    ],
)
def test_does_not_fit(value, hint):
    assert not fits(value, hint)
