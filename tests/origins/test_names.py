"""Tensors are renamed by rules, and back."""

import pytest
import torch

from detzoo.importers.names import rename, rename_back

RULES = {
    r"body\.(\d|1\d)\.(.+)": "trunk.{0}.{1}",
    r"body\.(2\d)\.(.+)": "extras.{0:-20}.{1}",
    r"head\.loc\.(.+)": "head.regression.{0}",
    r"unused\..+": None,
}


def state(*keys: str) -> dict[str, torch.Tensor]:
    return {key: torch.full((2,), float(number)) for number, key in enumerate(keys)}


def test_first_rule_that_matches_whole():
    renamed = rename(state("body.3.weight", "body.21.conv.bias", "head.loc.0.weight", "unused.0"), RULES)
    assert list(renamed) == ["trunk.3.weight", "extras.1.conv.bias", "head.regression.0.weight"]
    assert renamed["extras.1.conv.bias"].tolist() == [1.0, 1.0]


def test_a_tensor_without_a_rule_is_named():
    with pytest.raises(ValueError, match=r"unexpected tensor 'tail.weight' \(2,\)"):
        rename(state("body.3.weight", "tail.weight"), RULES)


def test_back():
    original = state("body.3.weight", "body.12.bias", "body.21.conv.bias", "head.loc.0.weight")
    assert list(rename_back(rename(original, RULES), RULES)) == list(original)


def test_back_names_what_the_other_side_has_no_place_for():
    with pytest.raises(ValueError, match="no place for the tensor 'extras.12.weight'"):
        rename_back(state("trunk.1.weight", "extras.12.weight"), RULES)


def test_a_rule_that_would_lead_elsewhere_is_not_taken_back():
    """trunk.25 is no name that the first rule makes, though its pieces would fit."""
    with pytest.raises(ValueError, match="trunk.25"):
        rename_back(state("trunk.25.weight"), RULES)


def test_two_tensors_of_one_name_are_refused():
    """Else the last one in the file wins, and nobody is told."""
    with pytest.raises(ValueError, match="'module.0.weight' and 'module.00.weight' are the same one .*trunk.0.weight"):
        rename(state("module.0.weight", "module.00.weight"), {r"module\.0?(\d)\.weight": "trunk.{0}.weight"})
