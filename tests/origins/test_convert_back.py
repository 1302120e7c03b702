"""What became of an original's file is written as a file of that original again, with the same tensors."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from goldens import Golden, names
from torch import Tensor

from detzoo.exchange import EXPORTS, save_for
from detzoo.importers import ORIGINS


def project_of(golden: str) -> str | None:
    """Whose file it is, if that project's files are written too; a golden is called after the module of its origin."""
    module = golden.partition("-")[0]
    return next((name for name in EXPORTS if ORIGINS[name].__module__.rpartition(".")[2] == module), None)


GOLDENS = [name for name in names() if project_of(name)]
FROM_CAFFE = "ssd_pytorch-caffe"  # its default boxes are none that the code has
OLD_NORM = "pytorch_ssd-vgg16-ssd-l2"  # which the code has no more


def written(golden: str, folder: Path, *, despite_numbers: bool = False) -> tuple[list[str], Mapping[str, Tensor]]:
    """What is said of a file that is written back, and its tensors; on the disk nothing stays."""
    path = folder / "back.pth"
    said = save_for(path, Golden.read(golden).opened(), project_of(golden), despite_numbers=despite_numbers)
    state = torch.load(path, weights_only=True)
    path.unlink()
    return said, state


def unlike(state: Mapping[str, Tensor], golden: str) -> list[str]:
    """Names of the tensors that are not those of the original's file, to the last bit."""
    file = Golden.read(golden).foreign().state
    return [
        name
        for name in sorted(state.keys() | file.keys())
        if name not in state or name not in file or not torch.equal(state[name], file[name])
    ]


def test_every_project_has_a_file_that_goes_back():
    """torchvision is at hand itself: see tests/test_exchange.py."""
    assert set(EXPORTS) - {project_of(name) for name in GOLDENS} == {"torchvision"}
    assert {FROM_CAFFE, OLD_NORM} <= set(GOLDENS)


@pytest.mark.parametrize("name", [name for name in GOLDENS if name not in (FROM_CAFFE, OLD_NORM)])
def test_there_and_back(name, tmp_path):
    said, state = written(name, tmp_path)
    assert said == [] and unlike(state, name) == []


def test_default_boxes_that_the_code_has_not(tmp_path):
    """Those of the file from Caffe are not clipped; written, it has red first, as the code has its images."""
    with pytest.raises(ValueError, match="with other numbers:\n  - default_boxes: .*clip=none.*clip=centres_and_sizes"):
        written(FROM_CAFFE, tmp_path)
    assert list(tmp_path.iterdir()) == []
    said, state = written(FROM_CAFFE, tmp_path, despite_numbers=True)
    assert [line.partition(":")[0] for line in said] == ["default_boxes"]
    assert unlike(state, FROM_CAFFE) == ["vgg.0.weight"]


def test_a_norm_that_the_code_has_no_more(tmp_path):
    with pytest.raises(ValueError, match="pytorch-ssd has no detector of this architecture"):
        written(OLD_NORM, tmp_path)
    assert list(tmp_path.iterdir()) == []
