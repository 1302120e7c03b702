"""Every imported model says what its original says of the same weights."""

import pytest
from goldens import Golden, differences, names

# default boxes: fractions of the image; raw outputs: relative to the largest; boxes: pixels of the picture
BARS = {"default_boxes": 1e-6, "logits": 1e-5, "deltas": 1e-5, "boxes": 1e-2, "scores": 1e-4}


@pytest.mark.parametrize("name", names())
def test_says_what_the_original_says(name):
    golden = Golden.read(name)
    seen = differences(golden, golden.opened())
    assert {what: value for what, value in seen.items() if value > BARS[what]} == {}, seen
