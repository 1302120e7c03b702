"""What a network is computed in."""

import copy

import pytest
import torch
from torch import nn
from torchvision.ops import SqueezeExcitation

from detzoo.engine.precision import (
    GlobalAveragePool,
    choose_precision,
    keep_depthwise_in_float32,
    tune_for_cpu,
)

CPU = torch.device("cpu")


def test_auto_asks_the_processor(monkeypatch):
    for has_it, chosen in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has_it=has_it: {"amx_bf16": has_it})
        assert choose_precision("auto", CPU) == chosen
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # another kind of processor
    assert choose_precision("auto", CPU) == "float32"
    assert choose_precision("float16", CPU) == "float16"


def test_auto_asks_the_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: asked.append(1) or True)
    assert choose_precision("auto", torch.device("cuda", 0)) == "bfloat16" and asked


def test_unknown_precision():
    with pytest.raises(ValueError, match="precision='half': expected one of auto, float32"):
        choose_precision("half", CPU)


def test_depthwise_convolutions_stay_in_float32(one_thread):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=3))
    plain, x = copy.deepcopy(layers), torch.rand(2, 4, 9, 9)
    keep_depthwise_in_float32(layers)
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layers(x)
        depthwise = plain[0](x)
    # the first is given float32 and keeps it; what comes from a half-precision layer goes on as such
    assert seen == [torch.float32, torch.bfloat16, torch.bfloat16] and depthwise.dtype == torch.bfloat16
    torch.testing.assert_close(layers[0](x), plain[0](x), rtol=0, atol=0)
    torch.testing.assert_close(out.float(), plain(x), rtol=0.05, atol=0.02)
    out.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layers.parameters())
    assert layers.state_dict().keys() == plain.state_dict().keys()
    copied = copy.deepcopy(layers)
    with torch.no_grad():
        copied[0].weight.zero_(), copied[0].bias.zero_()
    assert not copied[0](x).any() and layers[0](x).any(), "a copy computes with its own weights"


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["NHWC", "NCHW"])
def test_pooling_on_a_cpu_is_the_same_but_for_the_layout_of_its_gradient(layout):
    torch.manual_seed(0)
    plain, tuned = SqueezeExcitation(8, 2), SqueezeExcitation(8, 2)
    tuned.load_state_dict(plain.state_dict())
    tune_for_cpu(tuned, "float32")
    assert isinstance(tuned.avgpool, GlobalAveragePool) and tuned.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(2, 8, 5, 7).contiguous(memory_format=layout)
    given = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    weights = torch.rand_like(x)
    outputs = [layer(each) for layer, each in zip((plain, tuned), given)]
    for out in outputs:
        (out * weights).sum().backward()
    assert torch.equal(*outputs)
    torch.testing.assert_close(given[0].grad, given[1].grad)
    one, other = given[0].detach().requires_grad_(), given[1].detach().requires_grad_()
    GlobalAveragePool()(other).sum().backward()
    assert other.grad.is_contiguous(memory_format=layout)
    plain.avgpool(one).sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
