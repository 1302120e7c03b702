"""Learning-rate factors at known steps, and parts from a config."""

import pytest
import torch
from torch import nn

from detzoo.engine.optim import ParameterRules, build_optimizer, build_schedule, constant, cosine, multistep
from detzoo.lookup import ConfigError


def test_cosine_falls_from_one_to_zero():
    factor = cosine(total_steps=100)
    assert [factor(step) for step in (0, 50, 100)] == pytest.approx([1, 0.5, 0], abs=1e-12)
    assert factor(25) == pytest.approx(0.5 + 0.5 * 2**-0.5)
    assert factor(150) == pytest.approx(0, abs=1e-12), "a run that goes on past its end does not warm up again"


def test_warm_up_multiplies_and_begins_above_zero():
    plain, warmed = cosine(total_steps=100), cosine(total_steps=100, warmup_steps=4)
    assert [warmed(step) / plain(step) for step in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert [constant(warmup_steps=4)(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_multistep_milestones_are_epochs():
    factor = multistep(steps_per_epoch=10, milestones=[2, 3.5], gamma=0.1)
    assert [factor(step) for step in (0, 19, 20, 34, 35, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_constant_is_constant():
    assert {constant()(step) for step in range(100)} == {1.0}


def test_schedule_counts_steps_of_the_whole_run():
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, {"name": "sgd", "lr": 0.5})
    schedule = build_schedule(optimizer, "cosine", epochs=5, steps_per_epoch=4)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0.5 and rates[10] == pytest.approx(0.25)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    optimizer = build_optimizer(model, {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05})
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.param_groups[0]["weight_decay"] == 0.05
    (group,) = optimizer.param_groups
    assert [id(parameter) for parameter in group["params"]] == [id(parameter) for parameter in model[1].parameters()]


def test_optimizer_by_dotted_path():
    assert isinstance(build_optimizer(nn.Linear(1, 1), "torch.optim.Adam"), torch.optim.Adam)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "sgd", "lr": 0.1, "momemtum": 0.9}, "optimizer has no option 'momemtum': did you mean 'momentum'"),
        ({"name": "sdg", "lr": 0.1}, "unknown optimizer 'sdg': did you mean 'sgd'"),
        ({"name": "sgd", "params": []}, "optimizer.params is derived"),
        ({"lr": 0.1}, "optimizer: expected a name or a mapping with a 'name'"),
    ],
)
def test_optimizer_that_is_none(part, message):
    with pytest.raises(ConfigError, match=message):
        build_optimizer(nn.Linear(1, 1), part)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": "multistep"}, "schedule needs the option 'milestones'"),
        ({"name": "cosine", "warmup": 5}, "schedule has no option 'warmup': did you mean 'warmup_steps'"),
        ({"name": "cosine", "warmup_steps": 0.5}, r"schedule.warmup_steps = 0.5 \(float\): expected int"),
        ({"name": "cosine", "total_steps": 5}, "schedule.total_steps is derived"),
        ("linear", "unknown schedule 'linear'"),
    ],
)
def test_schedule_that_is_none(part, message):
    optimizer = build_optimizer(nn.Linear(1, 1), {"name": "sgd", "lr": 0.1})
    with pytest.raises(ConfigError, match=message):
        build_schedule(optimizer, part, epochs=1, steps_per_epoch=1)


def test_a_negative_warmup_is_refused():
    with pytest.raises(ValueError, match="warmup_steps = -5"):
        cosine(total_steps=10, warmup_steps=-5)(0)


NET = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False))


def treated(optimizer) -> dict[str, tuple[float, float]]:
    """Learning rate and decay of each parameter of `NET` by name."""
    names = {id(parameter): name for name, parameter in NET.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


SGD = {"name": "sgd", "lr": 0.5, "weight_decay": 0.25}


def test_all_parameters_alike_by_default():
    optimizer = build_optimizer(NET, SGD)
    assert len(optimizer.param_groups) == 1 and set(treated(optimizer).values()) == {(0.5, 0.25)}


def test_biases_learn_faster_and_do_not_decay():
    found = treated(build_optimizer(NET, SGD, ParameterRules(bias_lr_factor=2, bias_weight_decay=0)))
    norm = {"1.weight": (0.5, 0.25), "1.bias": (0.5, 0.25)}
    assert found == {"0.weight": (0.5, 0.25), "0.bias": (1.0, 0), "2.weight": (0.5, 0.25), **norm}


def test_norms_decay_by_themselves():
    found = treated(build_optimizer(NET, SGD, ParameterRules(norm_weight_decay=0.125), lr_factor=3))
    norm = {"1.weight": (1.5, 0.125), "1.bias": (1.5, 0.125)}
    assert found == {"0.weight": (1.5, 0.25), "0.bias": (1.5, 0.25), "2.weight": (1.5, 0.25), **norm}


def test_the_schedule_keeps_the_factors_and_frozen_parameters_are_left_out():
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, {"name": "adamw", "lr": 0.5}, ParameterRules(bias_lr_factor=4))
    schedule = build_schedule(optimizer, "cosine", epochs=1, steps_per_epoch=4)
    optimizer.step(), schedule.step()
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[1] == pytest.approx(4 * rates[0]) and rates[0] < 0.5
    model.weight.requires_grad_(False)
    (group,) = build_optimizer(model, SGD, ParameterRules(bias_lr_factor=4)).param_groups
    assert group["params"][0] is model.bias
