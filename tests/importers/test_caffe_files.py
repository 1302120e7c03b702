"""Caffe's nets and their prototxts."""

import struct

import numpy as np
import pytest
import torch

from detzoo.importers.readers import read_container, read_prototxt, state_dict_in

# The net that the writer `caffe` writes.
PROTOTXT = """
name: "tiny"  # a comment
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 1 kernel_size: 1 } }
layer {
  name: 'prior' type: "PriorBox"
  prior_box_param { min_size: 60 max_size: 111.0 aspect_ratio: [2, 3] flip: true clip: false variance: 0.1 step: 16 }
}
"""


def test_blobs_layers_and_parameters(tmp_path, write):
    container = read_container(write.caffe(tmp_path / "tiny.caffemodel"))
    assert container.kind == "caffe" and container.metadata["format"] == "caffe"
    assert container.metadata["name"] == "tiny"
    assert {name: tensor.tolist() for name, tensor in container.tensors.items()} == {
        "conv.0": [[[[1.0]], [[2.0]]]],
        "conv.1": [3.0],
    }
    assert state_dict_in(container) == (container.tensors, ())
    conv, prior = container.metadata["layers"]
    assert conv == {"name": "conv", "type": "Convolution", "blobs": [(1, 2, 1, 1), (1,)]}
    assert prior["prior_box_param"] == {
        "min_size": [60.0],
        "max_size": [111.0],
        "aspect_ratio": [2.0, 3.0],
        "flip": True,
        "clip": False,
        "variance": [0.1],  # as in the prototxt, not as the float32 nearest to it
        "step": 16.0,
    }
    assert container.metadata["prototxt"] is None and container.metadata["prototxt_path"] is None


def test_old_layers_and_shapes(tmp_path, write):
    """V1LayerParameter: name 4, type 5 (4 is a convolution), blobs 6 with num, channels, height, width."""
    blob = b"".join(write.field(number, size) for number, size in enumerate((2, 1, 1, 1), 1))
    blob += write.field(5, struct.pack("<2f", 5, 6))
    layer = write.field(4, "conv") + write.field(5, 4) + write.field(6, blob) + write.field(2, "data")
    (tmp_path / "old.caffemodel").write_bytes(write.field(1, "old") + write.field(2, layer))
    container = read_container(tmp_path / "old.caffemodel")
    assert container.kind == "caffe" and container.metadata["format"] == "caffe v1 layers"
    assert container.tensors["conv.0"].shape == (2, 1, 1, 1) and container.tensors["conv.0"].flatten().tolist() == [
        5,
        6,
    ]
    assert container.metadata["layers"][0]["type"] == "Convolution"


@pytest.mark.parametrize(
    ("fields", "dtype"),
    [
        ({8: np.array([1.5, -2], "<f8").tobytes()}, torch.float64),
        ({10: 2, 12: np.array([1.5, -2], "<f2").tobytes()}, torch.float16),
        ({10: 1, 12: np.array([1.5, -2], "<f4").tobytes()}, torch.float32),
        ({5: np.array([1.5, -2], "<f4").tobytes()}, torch.float32),
    ],
    ids=["double_data", "raw half", "raw float", "data"],
)
def test_types_of_numbers(tmp_path, write, fields, dtype):
    blob = write.field(7, write.field(1, b"\x02")) + b"".join(write.field(*one) for one in fields.items())
    path = tmp_path / "a.caffemodel"
    path.write_bytes(write.caffe_layer("a", "Scale", write.field(7, blob)))
    tensor = read_container(path).tensors["a.0"]
    assert tensor.dtype == dtype and tensor.tolist() == [1.5, -2]


def test_numbers_that_are_not_packed(tmp_path, write):
    blob = write.field(7, write.field(1, 1) + write.field(1, 2)) + write.field(5, 1.5) + write.field(5, -2.0)
    (tmp_path / "a.caffemodel").write_bytes(write.caffe_layer("a", "Scale", write.field(7, blob)))
    assert read_container(tmp_path / "a.caffemodel").tensors["a.0"].tolist() == [[1.5, -2]]


@pytest.mark.parametrize("name", ["tiny.prototxt", "deploy.prototxt"])
def test_the_prototxt_beside_is_read(tmp_path, write, name):
    (tmp_path / name).write_text(PROTOTXT)
    metadata = read_container(write.caffe(tmp_path / "tiny.caffemodel")).metadata
    assert metadata["prototxt_path"] == str(tmp_path / name)
    mine = {key: value for key, value in metadata["layers"][1].items() if key != "blobs"}
    assert metadata["prototxt"]["layer"][1] == mine, "the same form from both files"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (PROTOTXT.replace('"conv"', '"elsewhere"'), "the layer 'conv', which has weights, is not in it"),
        (
            PROTOTXT.replace("num_output: 1", "num_output: 2"),
            r"'conv' has 2 outputs in it, and weights of shape \(1, 2",
        ),
        (
            PROTOTXT + 'layer { name: "more" type: "Convolution" convolution_param { num_output: 1 } }',
            "its convolution 'more' has no weights here",
        ),
    ],
)
def test_a_prototxt_of_another_net(tmp_path, write, content, problem):
    other = tmp_path / "deploy.prototxt"
    other.write_text(content)
    model = write.caffe(tmp_path / "tiny.caffemodel")
    assert read_container(model).metadata["prototxt"] is None
    with pytest.raises(ValueError, match=f"another net: .*{problem}"):
        read_container(model, companion=other)


def test_one_layer_of_the_same_name_does_not_make_a_net(tmp_path, write):
    (tmp_path / "deploy.prototxt").write_text(PROTOTXT)
    model = write.caffe(tmp_path / "tiny.caffemodel")
    more = write.caffe_layer("more", "Scale", write.field(7, write.field(5, 1.5) + write.field(7, write.field(1, 1))))
    model.write_bytes(model.read_bytes() + more)
    assert read_container(model).metadata["prototxt"] is None


def test_in_a_folder_of_many_files_only_the_prototxt_of_this_name_counts(tmp_path, write):
    (tmp_path / "deploy.prototxt").write_text(PROTOTXT)
    model = write.caffe(tmp_path / "tiny.caffemodel")
    assert read_container(model, own_only=True).metadata["prototxt"] is None
    (tmp_path / "tiny.prototxt").write_text(PROTOTXT)
    assert read_container(model, own_only=True).metadata["prototxt_path"] == str(tmp_path / "tiny.prototxt")


def test_a_companion_that_is_missing(tmp_path, write):
    model = write.caffe(tmp_path / "tiny.caffemodel")
    with pytest.raises(FileNotFoundError, match="no prototxt"):
        read_container(model, companion=tmp_path / "missing.prototxt")


def test_a_companion_of_another_kind_of_file(one_of_each):
    with pytest.raises(ValueError, match="companion='deploy.prototxt' belongs to a .caffemodel"):
        read_container(one_of_each["torch zip"], companion="deploy.prototxt")


def test_the_form_of_a_prototxt(tmp_path):
    path = tmp_path / "a.prototxt"
    path.write_text(
        "name: 'a' 'b\\n'; input: \"data\", input_dim: 1 input_dim: -3\n"
        'layer <\n type: "Data" transform_param { scale: 7.843e-3 mean_value: [104, 117, 123] mirror: true '
        "resize_param { interp_mode: LINEAR } } strange { once: 1f deep { } } strange_too: 1 strange_too: WORD > \n"
        "layer { pooling_param { pad: 0x10 pool: MAX } convolution_param { pad: 1 } include { phase: TRAIN } }"
    )
    assert read_prototxt(path) == {
        "name": "ab\n",
        "input": ["data"],
        "input_dim": [1, -3],
        "layer": [
            {
                "type": "Data",
                "transform_param": {
                    "scale": 0.007843,
                    "mean_value": [104.0, 117.0, 123.0],
                    "mirror": True,
                    "resize_param": {"interp_mode": ["LINEAR"]},
                },
                "strange": {"once": 1.0, "deep": {}},
                "strange_too": [1, "WORD"],
            },
            {
                "pooling_param": {"pad": 16, "pool": "MAX"},  # in a pooling one number, in a convolution one per axis
                "convolution_param": {"pad": [1]},
                "include": [{"phase": "TRAIN"}],
            },
        ],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("layer { name: 'a'", "ends before '}'"),
        ("layer {\n name: 'a' >", "line 2: '>' where a word was expected"),
        ("name:", "ends within a field"),
        ("name: 'a\n'", "where a field was expected"),
        ("layer { prior_box_param {\n min_size: small } }", "line 2: min_size is 'small', expected a number"),
        ("layer: 5", "line 1: layer is '5', expected a message in braces"),
        ("layer { prior_box_param: 'big' }", "line 1: prior_box_param is 'big', expected a message in braces"),
        ("layer {\n prior_box_param { min_size { } } }", "line 2: min_size is a message in braces, expected a number"),
        ("layer { name { } }", "name is a message in braces, expected a text in quotes"),
        ("layer { name: conv }", "name is 'conv', expected a text in quotes"),
        ("input_dim: 1.5", "line 1: input_dim is '1.5', expected a whole number"),
        ("input_dim: '3'", "line 1: input_dim is '3', expected a whole number"),
        ("layer { prior_box_param { flip: 2 } }", "flip is '2', expected true or false"),
        ("layer { pooling_param { pool { } } }", "pool is a message in braces, expected a word"),
        ("layer { prior_box_param { step: [] } }", "step is a list, expected a number"),
        ("a { " * 40, "nested deeper than 30 levels"),
        ("<!DOCTYPE html><html>", "line 1"),
        ("name: 'a\\xff\\N{what}'", "cannot be read"),
    ],
)
def test_what_is_no_prototxt(tmp_path, content, message):
    path = tmp_path / "a.prototxt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_prototxt(path)
    assert str(path) in str(caught.value)


def test_truths_and_enums_in_all_their_spellings(tmp_path):
    path = tmp_path / "a.prototxt"
    path.write_text(
        "layer { prior_box_param { flip: False clip: 1 step: 0x10 } }"
        "layer { prior_box_param { flip: t clip: 0 } pooling_param { pool: 1 } }"
        "layer { pooling_param { pool: AVE } }"
    )
    assert read_prototxt(path)["layer"] == [
        {"prior_box_param": {"flip": False, "clip": True, "step": 16.0}},
        {"prior_box_param": {"flip": True, "clip": False}, "pooling_param": {"pool": "AVE"}},
        {"pooling_param": {"pool": "AVE"}},
    ]


def test_a_prototxt_that_is_no_text(tmp_path):
    (tmp_path / "a.prototxt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read as a prototxt"):
        read_prototxt(tmp_path / "a.prototxt")
