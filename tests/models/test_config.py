"""`build_ssd`: three forms of config, parts by name, path or finished, and what it says of a config that is wrong."""

from dataclasses import fields, replace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

import detzoo
from detzoo.backbones import tiny
from detzoo.categories import Categories
from detzoo.components import (
    BoxCoder,
    DefaultBoxGenerator,
    MultiBoxLoss,
    Postprocess,
    Preprocess,
    SSDHead,
    SSDMatcher,
    foreground_softmax,
)
from detzoo.lookup import ConfigError
from detzoo.models import MODELS, SSDConfig, build_ssd
from detzoo.models.build import part_problems, spelt_out
from detzoo.models.config import read_config
from detzoo.models.entry import check_same_network

THREE = Categories(("cat", "dog", "cow"))


@pytest.fixture
def config(small_config) -> SSDConfig:
    return replace(small_config, num_classes=4)


class FocusedLoss(nn.Module):
    """A part of someone else's, found by its dotted path."""

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return foreground_softmax(logits)


def problems_of(config, **given) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build_ssd(config, **given)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def problem_of(config, **given) -> str:
    problems = problems_of(config, **given)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    "form",
    [
        lambda config: config,
        lambda config: {field.name: getattr(config, field.name) for field in fields(config)},
        lambda config: config.as_dict(),
        lambda config: OmegaConf.structured(config),
        lambda config: OmegaConf.create(config.as_dict()),
        lambda config: {**config.as_dict(), "backbone": OmegaConf.create(config.as_dict()["backbone"])},
    ],
    ids=["dataclass", "dict", "plain dict", "structured", "YAML", "mixed"],
)
def test_all_forms_of_a_config_build_the_same(config, form):
    torch.manual_seed(0)
    expected = build_ssd(config)
    torch.manual_seed(0)
    model = build_ssd(form(config))
    assert repr(model) == repr(expected)
    assert isinstance(model.preprocess.size, tuple)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor)
    assert read_config(form(config)).as_dict() == config.as_dict()


@pytest.mark.parametrize("name", MODELS)
def test_presets_survive_the_way_through_a_checkpoint(name):
    preset = MODELS[name].config
    assert read_config(preset.as_dict()).as_dict() == preset.as_dict()
    assert OmegaConf.to_container(OmegaConf.structured(preset)) == preset.as_dict() | {"size": list(preset.size)}


def test_what_can_be_derived_is_derived(config):
    model = build_ssd(replace(config, num_classes=None), categories=THREE)
    assert model.head.num_classes == 4 and model.categories is THREE
    inputs = [layer.in_channels for layer in model.head.regression]
    assert inputs == model.backbone.channels
    assert [layer.out_channels for layer in model.head.regression] == [
        4 * count for count in model.default_boxes.boxes_per_cell
    ]
    assert model.preprocess.size == config.size


def test_options_reach_their_parts(config):
    model = build_ssd(
        replace(
            config,
            matcher={"name": "ssd", "iou_threshold": 0.4},
            coder={"name": "centre_size", "weights": [1, 2, 3, 4], "max_log_size": None},
            loss={"name": "multibox", "negatives_per_positive": 2},
            preprocess={"name": "warp", "mean": [0, 0, 0], "std": [1, 1, 1], "resize": "bilinear_antialias"},
            postprocess={"name": "nms", "score_threshold": 0.2},
            head="ssdlite",
        )
    )
    assert model.matcher.iou_threshold == 0.4
    assert model.coder.weights == (1, 2, 3, 4) and model.coder.max_log_size is None
    assert model.loss.negatives_per_positive == 2
    assert model.preprocess.std.flatten().tolist() == [1, 1, 1] and model.preprocess.resize == "bilinear_antialias"
    assert model.postprocess.score_threshold == 0.2
    assert type(model.head).__name__ == "SSDLiteHead"


@pytest.mark.parametrize(
    ("part", "make"),
    [
        ("backbone", lambda: tiny((4, 4, 6, 8), first_level=3)),
        ("default_boxes", lambda: DefaultBoxGenerator([[(0.1, 0.1)], [(0.5, 0.5)]])),
        ("head", lambda: SSDHead([16, 16], [4, 4], 4)),
        ("matcher", lambda: SSDMatcher(0.3)),
        ("coder", lambda: BoxCoder((1, 1, 1, 1))),
        ("loss", FocusedLoss),
        ("preprocess", lambda: Preprocess((96, 96), (0, 0, 0))),
        ("postprocess", lambda: Postprocess(top_k=7)),
    ],
)
def test_a_finished_part_wins(config, part, make):
    ready = make()
    model = build_ssd(replace(config, **{part: "no such thing"}), **{part: ready})
    assert getattr(model, part) is ready
    if part in ("backbone", "default_boxes"):  # the head follows
        with torch.no_grad():
            logits = model.eval().predict(torch.rand(1, 3, 96, 96)).logits
        assert logits.shape == (1, sum(k * s * s for k, s in zip(model.default_boxes.boxes_per_cell, (12, 6))), 4)


@pytest.mark.parametrize("matcher", ["ssd", "sim_ota"])
def test_a_loss_says_what_logits_mean(config, matcher):
    with pytest.raises(ValueError, match=r"Identity does not say what logits mean: give it scores\(logits\)"):
        build_ssd(replace(config, matcher=matcher), loss=nn.Identity())


def test_a_dotted_path_names_a_part_of_your_own(config):
    loss = {"name": f"{FocusedLoss.__module__}.FocusedLoss", "gamma": 3}
    assert build_ssd(replace(config, loss=loss)).loss.gamma == 3


@pytest.mark.parametrize("path", ["detzoo.components.MultiBoxLoss", "detzoo.components.losses.MultiBoxLoss"])
def test_a_dotted_path_takes_options(config, path):
    loss = build_ssd(replace(config, loss={"name": path, "minimum_negatives": 5})).loss
    assert isinstance(loss, MultiBoxLoss) and loss.minimum_negatives == 5
    problem = problem_of(replace(config, loss={"name": path, "minimum_negative": 5}))
    assert problem == "loss has no option 'minimum_negative': did you mean 'minimum_negatives'?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "vgg_16"}, "unknown backbone 'vgg_16': did you mean 'vgg16'?"),
        ({"backbone": {"name": "vgg_16", "extras": "ssd300"}}, "did you mean 'vgg16'?"),
        ({"head": "sdd"}, "unknown head 'sdd': did you mean 'ssd'?"),
        ({"loss": "multibocks"}, "unknown loss 'multibocks': did you mean 'multibox'?"),
        ({"loss": "detzoo.components.MultiboxLoss"}, "did you mean 'MultiBoxLoss'?"),
        ({"loss": "detzo.components.MultiBoxLoss"}, "cannot import 'detzo.components'"),
        ({"loss": None}, "loss: expected a name or a mapping with a 'name'"),
        ({"loss": {"gamma": 2}}, "loss: expected a name or a mapping with a 'name'"),
        ({"matcher": {"name": "ssd", "iou_treshold": 0.4}}, "matcher has no option 'iou_treshold': did you mean"),
        ({"matcher": {"name": "ssd", "iou_threshold": "high"}}, "matcher.iou_threshold = 'high' (str): expected float"),
        ({"matcher": {"name": "ssd", "iou_threshold": 1.4}}, "iou_threshold must lie in [0, 1], got 1.4"),
        ({"postprocess": {"name": "nms", "top_k": 2.5}}, "postprocess.top_k = 2.5 (float): expected int"),
        ({"head": {"name": "ssd", "num_classes": 4}}, "head.num_classes is derived"),
        ({"preprocess": {"name": "warp", "size": [9, 9]}}, "preprocess.size is derived"),
        ({"preprocess": {"name": "warp", "mean": [0.5, 0.5]}}, "preprocess.mean = [0.5, 0.5] (list): expected tuple"),
        ({"preprocess": {"name": "warp", "resize": "nearest"}}, "unknown way to resize 'nearest'"),
        ({"backbone": {"name": "vgg16", "extras": "ssd500"}}, "expected one of 'ssd300', 'ssd512'"),
        ({"default_boxes": {"name": "scales", "scales": [0.1]}}, "default_boxes needs the option 'aspect_ratios'"),
        ({"size": (96,)}, "model.size = [96] (list): expected tuple[int, int]"),
        ({"size": 96}, "model.size = 96 (int): expected tuple[int, int]"),
        ({"size": (96, 0)}, "model.size = [96, 0]: expected a positive height and width"),
        ({"num_classes": 1}, "model.num_classes = 1: expected at least 2"),
        ({"num_classes": "four"}, "model.num_classes = 'four' (str): expected int | None"),
        ({"num_classes": True}, "model.num_classes = True (bool)"),
        ({"num_classes": None}, "model.num_classes is not set"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_one_wrong_thing_and_its_message(config, changes, message):
    assert any(message in problem for problem in problems_of(replace(config, **changes)))


def test_misspelt_and_missing_fields(config):
    values = config.as_dict()
    values["bakcbone"] = values.pop("backbone")
    problems = problems_of(values)
    assert "model has no option 'bakcbone': did you mean 'backbone'?" in problems
    assert any(problem.startswith("model needs the option 'backbone'") for problem in problems)


@pytest.mark.parametrize("config", [None, "ssd300_vgg16", 3, []], ids=str)
def test_what_is_no_config(config):
    with pytest.raises(ConfigError, match="a model config is an SSDConfig or a mapping of its fields, got"):
        build_ssd(config)


def test_all_that_is_wrong_is_said_at_once(config):
    wrong = replace(
        config,
        backbone="tyni",
        default_boxes={"name": "scales", "scales": [0.1, 0.2], "aspect_ratios": [[2], [2]]},
        head={"name": "ssd", "chanels": 3},
        matcher={"name": "ssd", "iou_threshold": "high", "iou": 1},
        loss={"name": "multibox", "negatives_per_positive": -1},
        num_classes=1,
    ).as_dict() | {"sise": [96, 96]}
    problems = problems_of(wrong)
    for word in ("'tyni'", "need 3 scales", "'chanels'", "'high'", "'iou'", "negatives_per_positive > 0", "at least 2",
                 "'sise'"):  # fmt: skip
        assert sum(word in problem for problem in problems) == 1, word
    assert len(problems) == 8
    with pytest.raises(ConfigError, match="the config has 8 problems:\n  - "):
        build_ssd(wrong)


def test_levels_of_backbone_and_default_boxes_are_both_named(config):
    three = {"name": "scales", "scales": [0.1, 0.3, 0.6, 0.9], "aspect_ratios": [[2]] * 3}
    problem = problem_of(replace(config, default_boxes=three))
    assert "gives 2 feature maps" in problem and "for 3 levels" in problem and "3 scales" in problem


def test_levels_are_checked_of_finished_parts_and_by_the_model_itself(config):
    generator = DefaultBoxGenerator([[(0.1, 0.1)]])
    assert "gives 2 feature maps" in problem_of(config, default_boxes=generator)
    parts = dict(build_ssd(config).named_children())
    with pytest.raises(ValueError, match="gives 2 feature maps .* for 1 levels"):
        detzoo.SSD(**{**parts, "default_boxes": generator, "coder": BoxCoder()})


def test_scales_against_levels(config):
    wrong = {"name": "scales", "scales": [0.1, 0.3], "aspect_ratios": [[2]] * 2}
    assert "2 levels (aspect_ratios) need 3 scales, one more than levels, got 2: [0.1, 0.3]" in problem_of(
        replace(config, default_boxes=wrong)
    )


def test_class_count_against_categories(config):
    assert build_ssd(replace(config, num_classes=4), categories=THREE).head.num_classes == 4
    problem = problem_of(replace(config, num_classes=3), categories=THREE)
    assert "num_classes = 3 in the model, but there are 3 categories and background, 4 classes" in problem


def test_an_omegaconf_override_of_the_wrong_type_is_refused_by_the_schema_or_by_us(config):
    loose = OmegaConf.create(config.as_dict())
    loose.postprocess = {"name": "nms", "score_treshold": 0.9}
    assert "did you mean 'score_threshold'?" in problem_of(loose)


def test_a_name_is_no_finished_part(config):
    loss, head = problems_of(config, loss="my_package.MyLoss", head=3)
    assert "head=3 is no finished part" in head and "loss='my_package.MyLoss' is no finished part" in loss


class Silent(nn.Module):
    """A part that says nothing of itself."""

    def __init__(self) -> None:
        super().__init__()


class Vague(Silent):
    """A part that says it wrongly."""

    channels = 5
    size = (96,)
    num_classes = "many"
    boxes_per_cell = ()
    num_levels = 2


@pytest.mark.parametrize(
    ("part", "attributes"),
    [("backbone", ["channels"]), ("neck", ["channels"]), ("preprocess", ["size"]), ("head", ["num_classes"]),
     ("default_boxes", ["boxes_per_cell", "num_levels"])],
)  # fmt: skip
def test_what_parts_of_your_own_have_to_state(config, part, attributes):
    named = problems_of(replace(config, **{part: f"{__name__}.Silent"}))
    assert [problem.rpartition(",")[0].split(",")[0] for problem in named] == [
        f"the {part} Silent does not state `{attribute}`" for attribute in attributes
    ]
    assert problems_of(config, **{part: Silent()}) == named


@pytest.mark.parametrize(
    ("part", "stated"),
    [("backbone", "channels` = 5"), ("neck", "channels` = 5"), ("preprocess", "size` = (96,)"),
     ("head", "num_classes` = 'many'"),
     ("default_boxes", "boxes_per_cell` = ()")],
)  # fmt: skip
def test_what_parts_of_your_own_state_wrongly(config, part, stated):
    for problem in (
        problem_of(replace(config, **{part: f"{__name__}.Vague"})),
        problem_of(config, **{part: Vague()}),
    ):
        assert problem.startswith(f"the {part} Vague states `{stated}: expected ")


class Unready(nn.Module):
    """A loss that looks for what is not there when it is asked for its `scores`."""

    @property
    def scores(self) -> None:
        return {}["scores"]


def test_an_error_within_a_part_is_no_missing_part(config):
    with pytest.raises(KeyError, match="scores"):
        build_ssd(replace(config, matcher="sim_ota"), loss=Unready())


@pytest.mark.parametrize("neck", [None, {"name": "fpn", "out_channels": 8}], ids=str)
def test_a_part_that_misses_another_is_no_second_problem(config, neck):
    wrong = replace(config, backbone="tyni", neck=neck, matcher="sim_ota", loss="focall")
    assert len(problems_of(wrong)) == 2


def test_a_finished_preprocess_states_its_size_as_a_list_or_a_tuple(config):
    preprocess = build_ssd(config).preprocess
    preprocess.size = list(preprocess.size)
    assert build_ssd(config, preprocess=preprocess).preprocess is preprocess


def test_what_is_left_over_is_said_in_words_of_python_or_of_the_command_line(config):
    wrong = replace(config, loss={"name": "focal", "negatives_per_positive": 3})
    problem = problem_of(wrong)
    assert problem.endswith("where the part is replaced as a whole: loss={'name': 'focal', ...}")
    (problem,) = part_problems(wrong)
    assert "goes with model.loss=focal, " in problem and "model.loss=null model.loss.name=focal" in problem


def test_a_path_that_leads_to_no_module(config):
    problem = problem_of(replace(config, postprocess={"name": "collections.Counter"}))
    assert problem == "postprocess {'name': 'collections.Counter'} makes Counter: expected an nn.Module"


def test_what_can_be_said_before_anything_is_built(config):
    assert part_problems(replace(config, num_classes=None)) == []
    wrong = replace(config, loss="focall", matcher={"name": "ssd", "iou": 0.3}, backbone="my_own.Trunk").as_dict()
    problems = part_problems(wrong | {"sise": 3})
    assert len(problems) == 4 and {problem.split()[0] for problem in problems} == {
        "model",
        "backbone",
        "unknown",
        "matcher",
    }


def test_presets_share_nothing(config):
    copy = replace(config)
    copy.default_boxes["steps"] = [1]
    assert config.default_boxes.get("steps") != [1]


def test_a_head_of_other_boxes_is_refused(config):
    boxes = build_ssd(config).default_boxes.boxes_per_cell
    head = SSDHead([16] * len(boxes), [count + 1 for count in boxes], config.num_classes)
    with pytest.raises(ValueError, match="the head predicts"):
        build_ssd(config, head=head)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"num_classes": -1}, "num_classes = -1"), ({"size": (0, 0)}, "size = "), ({"size": (-3, 4)}, "size = ")],
)
def test_numbers_out_of_range_are_the_one_problem(config, wrong, message):
    assert message in problem_of(replace(config, **wrong))


@pytest.mark.parametrize("head", ["ssd", {"name": "ssd"}, {"name": "ssd", "kernel_size": 3}], ids=str)
@pytest.mark.parametrize("backbone", ["tiny", {"name": "tiny"}], ids=str)
def test_equal_parts_in_another_spelling_are_the_same_network(small_config, head, backbone):
    usual = replace(small_config, head="ssd", backbone="tiny")
    check_same_network(replace(usual, head=head, backbone=backbone).as_dict(), usual, "mine.pt")
    with pytest.raises(ValueError, match="mine.pt was trained with another head than"):
        check_same_network(replace(usual, head={"name": "ssd", "kernel_size": 1}).as_dict(), usual, "mine.pt")


def test_a_part_by_dotted_path_is_not_looked_up_to_be_spelt_out(small_config):
    part = {"name": "no_such_package.Head", "width": (1, 2)}
    assert spelt_out(replace(small_config, head=part))["head"] == {"name": "no_such_package.Head", "width": [1, 2]}
