"""What the numbers of the fields in Caffe's nets mean, as far as detectors need it.

Source: src/caffe/proto/caffe.proto of weiliu89/caffe, branch ssd (2018-01); raw_data of NVIDIA's Caffe as in OpenCV's
opencv-caffe.proto. Not listed: solvers, fillers, data augmentation, layers that no SSD has.
"""

from typing import NamedTuple

# Per message: number, name, type; `*` marks a repeated field. Types in capitals are messages or enums from below.
_MESSAGES = """
Net: 1 name text, 3 input text*, 4 input_dim int*, 8 input_shape Shape*, 100 layer Layer*, 2 layers OldLayer*
Shape: 1 dim int*
Layer: 1 name text, 2 type text, 3 bottom text*, 4 top text*, 8 include Rule*, 10 phase Phase,
 100 transform_param Transform, 104 concat_param Concat, 106 convolution_param Convolution, 121 pooling_param Pooling,
 125 softmax_param Softmax, 133 reshape_param Reshape, 135 flatten_param Flatten, 139 batch_norm_param BatchNorm,
 142 scale_param Scale, 143 input_param Input, 201 multibox_loss_param MultiBoxLoss, 202 permute_param Permute,
 203 prior_box_param PriorBox, 204 detection_output_param DetectionOutput, 206 norm_param Normalize
OldLayer: 2 bottom text*, 3 top text*, 4 name text, 5 type OldType, 32 include Rule*, 9 concat_param Concat,
 10 convolution_param Convolution, 19 pooling_param Pooling, 36 transform_param Transform, 39 softmax_param Softmax
Rule: 1 phase Phase
Transform: 1 scale float, 2 mirror bool, 3 crop_size int, 11 crop_h int, 12 crop_w int, 5 mean_value float*,
 6 force_color bool, 8 resize_param Resize
Resize: 1 prob float, 2 resize_mode ResizeMode, 3 height int, 4 width int, 7 interp_mode Interpolation*
Convolution: 1 num_output int, 2 bias_term bool, 3 pad int*, 4 kernel_size int*, 5 group int, 6 stride int*,
 9 pad_h int, 10 pad_w int, 11 kernel_h int, 12 kernel_w int, 13 stride_h int, 14 stride_w int, 16 axis int,
 18 dilation int*
Pooling: 1 pool PoolMethod, 2 kernel_size int, 3 stride int, 4 pad int, 5 kernel_h int, 6 kernel_w int, 7 stride_h int,
 8 stride_w int, 9 pad_h int, 10 pad_w int, 12 global_pooling bool
Concat: 1 concat_dim int, 2 axis int
Flatten: 1 axis int, 2 end_axis int
Softmax: 2 axis int
Reshape: 1 shape Shape, 2 axis int, 3 num_axes int
Permute: 1 order int*
Input: 1 shape Shape*
BatchNorm: 1 use_global_stats bool, 2 moving_average_fraction float, 3 eps float
Scale: 1 axis int, 2 num_axes int, 4 bias_term bool
Normalize: 1 across_spatial bool, 3 channel_shared bool, 4 eps float
PriorBox: 1 min_size float*, 2 max_size float*, 3 aspect_ratio float*, 4 flip bool, 5 clip bool, 6 variance float*,
 7 img_size int, 8 img_h int, 9 img_w int, 10 step float, 11 step_h float, 12 step_w float, 13 offset float
DetectionOutput: 1 num_classes int, 2 share_location bool, 3 background_label_id int, 4 nms_param Suppression,
 6 code_type CodeType, 7 keep_top_k int, 8 variance_encoded_in_target bool, 9 confidence_threshold float
MultiBoxLoss: 4 num_classes int, 5 share_location bool, 7 overlap_threshold float, 9 background_label_id int,
 12 neg_pos_ratio float, 13 neg_overlap float, 14 code_type CodeType
Suppression: 1 nms_threshold float, 2 top_k int, 3 eta float
"""
ENUMS = {
    "Phase": {0: "TRAIN", 1: "TEST"},
    "ResizeMode": {1: "WARP", 2: "FIT_SMALL_SIZE", 3: "FIT_LARGE_SIZE_AND_PAD"},
    "Interpolation": {1: "LINEAR", 2: "AREA", 3: "NEAREST", 4: "CUBIC", 5: "LANCZOS4"},
    "PoolMethod": {0: "MAX", 1: "AVE", 2: "STOCHASTIC"},
    "CodeType": {1: "CORNER", 2: "CENTER_SIZE", 3: "CORNER_SIZE"},
    # The layers of old nets, under the names that they have since.
    "OldType": {3: "Concat", 4: "Convolution", 6: "Dropout", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU"}
    | {5: "Data", 8: "Flatten", 20: "Softmax", 21: "SoftmaxWithLoss", 22: "Split", 25: "Eltwise"},
}


class Known(NamedTuple):
    """A field: its name, its type (text, int, bool, float, an enum or a message), whether it is repeated."""

    name: str
    type: str
    repeated: bool


def _parse(table: str) -> dict[str, dict[int, Known]]:
    messages: dict[str, dict[int, Known]] = {}
    for line in table.replace(",\n ", ", ").strip().splitlines():
        message, _, rest = line.partition(": ")
        rows = (entry.split() for entry in rest.split(", "))
        messages[message] = {int(n): Known(name, kind.rstrip("*"), kind.endswith("*")) for n, name, kind in rows}
    return messages


MESSAGES = _parse(_MESSAGES)
BY_NAME = {message: {known.name: known for known in found.values()} for message, found in MESSAGES.items()}
