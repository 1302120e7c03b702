"""What a training run is made of: the schema that Hydra holds `configs/train.yaml` and every override against."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, TypeVar, get_args

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ..data import TRANSFORMS, dataset_problems
from ..data.base import InvalidBoxes
from ..data.check import ImageCheck
from ..lookup import ConfigError, resolve_part, suggest
from ..metrics import METRICS
from ..models import MODELS, SSDConfig
from ..models.build import part_problems
from .optim import OPTIMIZERS, SCHEDULES, ParameterRules
from .precision import PRECISIONS
from .run import DEVICES

T = TypeVar("T")


@dataclass
class LoaderConfig:
    """How images are fed.

    Attributes:
        batch_size: images of a training step, over all processes.
        eval_batch_size: images of an evaluation step, in each process.
        workers: loading processes beside each training process; null for none on a CPU, whose cores the network needs,
            and for this process's share of the cores beside a GPU, at most 8.
    """

    batch_size: int = 16
    eval_batch_size: int = 8
    workers: int | None = None


@dataclass
class EmaConfig:
    """A running mean of the weights, which is what is evaluated and kept as the best.

    Attributes:
        decay: share of the old mean that stays in a step, such as 0.9998; null for no mean.
        warmup: let the decay rise, as (1 + n) / (10 + n) after n steps, so that a short run forgets its first weights.
    """

    decay: float | None = None
    warmup: bool = True


@dataclass
class TrainConfig:
    """A run. Parts (model, transforms, optimizer, schedule) are names or mappings, and take any option of what they
    name; `check_run` asks whether there is such a one.

    Attributes:
        model: an `SSDConfig`; `num_classes` follows from the data set.
        dataset: `train` and `val`, parts of `detzoo.data.DATASETS`.
        transforms: a part of `detzoo.data.TRANSFORMS`.
        optimizer: a part of `detzoo.engine.optim.OPTIMIZERS`.
        schedule: a part of `detzoo.engine.optim.SCHEDULES`.
        loader: how images are fed.
        metric: a part of `detzoo.metrics.METRICS`.
        epochs: passes over the training set.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        weights: start from these: a checkpoint's path, or published ones such as SSD300_VGG16_Weights.COCO_V1.
        weights_backbone: start the trunk from these: torchvision's name, or a path.
        trainable_layers: stages of the trunk that are trained, counted from its end; null for all.
        parameters: learning rate and decay of biases and norms.
        reference_batch_size: images of a step that optimizer.lr is meant for; with another loader.batch_size the rate
            is scaled in proportion. Null to take it as it is.
        accumulate: parts in which the images of a step are computed, one after the other, to save memory; batch norm
            and the loss see each part by itself.
        clip_norm: limit of the norm of all gradients together; null for none.
        ema: running mean of the weights.
        precision: float32, bfloat16, float16 (both automatic mixed precision, the latter with a gradient scaler), or
            auto: bfloat16 where the device computes in it, else float32.
        channels_last: memory layout of the network; faster on most CPUs and GPUs.
        compile: compile the network with torch.compile; minutes at the start, on a CPU with a C++ compiler.
        sync_batch_norm: batch norm over the images of all processes instead of each one's share.
        device: auto (a GPU if there is one), cpu or cuda.
        seed: of weights, shuffling and augmentation.
        name: of the run, first part of its folder's name.
        folder: of the run; by default runs/<name>-<time>.
        resume: a run folder to go on with; its config is not read, give the same one. Or auto: go on with `folder` if
            it holds a run, without `folder` with the newest runs/<name>-<time> that does, else start one.
        checkpoint_every: training steps between checkpoints within an epoch; null for one at its end only.
        check_images: what is looked at before the first step: header (sizes, against the annotations), decode (every
            pixel, minutes), or none.
        broken_images: what becomes of those that fail the check: error, or drop, which counts them.
        log_every: training steps between lines.
        stop_after: end after so many epochs in this session, schedule unchanged; null for all.
        limit_batches: training steps of an epoch at most; null for all.
        limit_images: images of an evaluation at most; null for all.
        overfit_batches: train on the images of so many steps, and evaluate on the same; null for the whole sets.
        fast_dev_run: go through the whole program with so many training steps, in a folder that is thrown away; null
            for a run.
        test_only: evaluate `weights`, as the model that they are of, on dataset.val, and end.
        trust_parts: with test_only, import parts that a checkpoint names by dotted path; only for files of your own.
        pictures: images of the validation set drawn at the end.
        picture_threshold: least score of a detection that is drawn.
    """

    model: Any = None
    dataset: Any = None
    transforms: Any = None
    optimizer: Any = None
    schedule: Any = None
    metric: Any = "coco"
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    epochs: int = 60
    evaluate_every: int = 10
    weights: str | None = None
    weights_backbone: str | None = None
    trainable_layers: int | None = None
    parameters: ParameterRules = field(default_factory=ParameterRules)
    reference_batch_size: int | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    ema: EmaConfig = field(default_factory=EmaConfig)
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False
    sync_batch_norm: bool = False
    device: str = "auto"
    seed: int = 0
    name: str = "train"
    folder: str | None = None
    resume: str | None = None
    checkpoint_every: int | None = None
    check_images: str = "header"
    broken_images: str = "error"
    log_every: int = 50
    stop_after: int | None = None
    limit_batches: int | None = None
    limit_images: int | None = None
    overfit_batches: int | None = None
    fast_dev_run: int | None = None
    test_only: bool = False
    trust_parts: bool = False
    pictures: int = 8
    picture_threshold: float = 0.4


@dataclass
class EvaluateConfig:
    """A measurement.

    Attributes:
        source: a run folder, a checkpoint, another project's file, or the name of a model with published weights.
        origin: whose file it is, where that is asked; null where it is recognised.
        dataset: of which `val` is measured; null for that of the run folder.
        metric: a part of `detzoo.metrics.METRICS`.
        postprocess: a part of `detzoo.components.POSTPROCESSES` in place of the model's own; null or empty for that.
        batch_size: images of a step, in each process.
        workers: loading processes beside each process.
        limit_images: images at most; null for all.
        device: auto (a GPU if there is one), cpu or cuda.
        output: a JSON file for the numbers; null to print them only.
        card: a JSON file for a card, from which MODEL_ZOO.md is made; null for none.
        trust_parts: import parts that the checkpoint names by dotted path; only for files of your own.
        pictures: a folder for pictures of ground truth against detections; null for none.
        num_pictures: how many of them, spread evenly over the data set.
        picture_threshold: least score of a detection that is drawn.
    """

    source: str = MISSING
    origin: str | None = None
    dataset: Any = None
    metric: Any = "coco"
    postprocess: Any = None
    batch_size: int = 8
    workers: int = 0
    limit_images: int | None = None
    device: str = "auto"
    output: str | None = None
    card: str | None = None
    trust_parts: bool = False
    pictures: str | None = None
    num_pictures: int = 8
    picture_threshold: float = 0.4


def register_configs() -> None:
    """Offer schema and presets to Hydra: `model=ssd300_vgg16` is `SSD300_VGG16`, number for number.

    But for two things: `num_classes` is left out, since in training it follows from the data set; and images are
    resized with an antialiasing filter, as the loader does it, since a network should detect in what it was trained on.
    """
    store = ConfigStore.instance()
    store.store(name="train_schema", node=_schema(TrainConfig, "model", "transforms", "optimizer", "schedule"))
    store.store(name="evaluate_schema", node=_schema(EvaluateConfig, "postprocess"))
    for name, entry in MODELS.items():
        store.store(group="model", name=name, node=_training_form(entry.config).as_dict())


def _schema(schema: type, *parts: str) -> DictConfig:
    """What Hydra holds a config against, but for these parts: their signatures know more options than any config spells
    out, so they take any, and it is they that are asked whether there is such a one.
    """
    node = OmegaConf.structured(schema)
    for part in parts:
        node[part] = {}
        OmegaConf.set_struct(node[part], False)
    return node


def typed(config: DictConfig, schema: type[T]) -> T:
    """What Hydra composed as an object of its schema.

    Raises:
        ConfigError: for options that were added (`+option=...`) but that the schema does not have, and for one that has
            no value.
    """
    known = [field.name for field in fields(schema)]
    foreign = [f"no option {name!r}: {_right_word(name, known)}" for name in map(str, config) if name not in known]
    if foreign:
        raise ConfigError(foreign)
    try:
        return OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        raise ConfigError([f"{error.full_key} is not set: say {error.full_key}=..."]) from None


def _right_word(name: str, known: Sequence[str]) -> str:
    parts = [field.name for field in fields(SSDConfig)] if "model" in known else []
    return f"it is model.{name}" if name in parts else suggest(name, known)


def check_run(config: TrainConfig) -> None:
    """Look at every part and number of a run before anything is read.

    Raises:
        ConfigError: listing all that is wrong, but for what shows only when the model is built for the data's classes.
    """
    problems = _range_problems(config) + _option_problems(config) + part_problems(config.model)
    for split in ("train", "val"):
        problems += dataset_problems(config.dataset and config.dataset.get(split), f"dataset.{split}")
    for table, part, what, derived in (
        (TRANSFORMS, config.transforms, "transforms", ()),
        (METRICS, config.metric, "metric", ("annotations",)),
        (OPTIMIZERS, config.optimizer, "optimizer", ("params",)),
        (SCHEDULES, config.schedule, "schedule", ("total_steps", "steps_per_epoch")),
    ):
        try:
            resolve_part(table, part, what, derived)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def fast_dev_form(config: TrainConfig) -> TrainConfig:
    """The same run, cut down to `fast_dev_run` steps of training and of evaluation, without pictures."""
    steps = config.fast_dev_run
    images = steps * config.loader.eval_batch_size
    return replace(config, epochs=1, evaluate_every=1, limit_batches=steps, limit_images=images, pictures=0)


LEAST = {
    "epochs": 1, "evaluate_every": 1, "log_every": 1, "checkpoint_every": 1, "stop_after": 1, "limit_batches": 1,
    "limit_images": 1, "overfit_batches": 1, "fast_dev_run": 1, "reference_batch_size": 1, "accumulate": 1,
    "pictures": 0, "loader.batch_size": 1, "loader.eval_batch_size": 1, "loader.workers": 0,
    "parameters.bias_lr_factor": 0, "parameters.bias_weight_decay": 0, "parameters.norm_weight_decay": 0,
}  # fmt: skip


def _range_problems(config: TrainConfig) -> list[str]:
    values = {name: attrgetter(name)(config) for name in LEAST}
    problems = [
        f"{name} = {value}: expected {LEAST[name]} or more"
        for name, value in values.items()
        if value is not None and value < LEAST[name]
    ]
    if config.clip_norm is not None and not config.clip_norm > 0:
        problems.append(f"clip_norm = {config.clip_norm}: expected more than 0")
    if config.ema.decay is not None and not 0 <= config.ema.decay < 1:
        problems.append(f"ema.decay = {config.ema.decay}: expected 0 or more, and less than 1")
    return problems


def _option_problems(config: TrainConfig) -> list[str]:
    """Words that are none of those known, and options that say two things."""
    problems = [
        f"{name} = {value!r}: {suggest(value, known)}"
        for name, value, known in (
            ("precision", config.precision, ("auto", *PRECISIONS)),
            ("device", config.device, DEVICES),
            ("check_images", config.check_images, get_args(ImageCheck)),
            ("broken_images", config.broken_images, get_args(InvalidBoxes)),
        )
        if value not in known
    ]
    if config.weights and config.weights_backbone:
        problems.append("weights and weights_backbone exclude each other: the former contain a trunk")
    if config.test_only and not config.weights:
        problems.append("test_only evaluates weights: say which, weights=PATH")
    if config.test_only and config.resume:
        problems.append("test_only and resume exclude each other: say weights=FOLDER/best.pt, in a folder of its own")
    if config.fast_dev_run and (config.resume or config.folder):
        problems.append("fast_dev_run leaves no folder behind: leave folder and resume out")
    return problems


def _training_form(config: SSDConfig) -> SSDConfig:
    return replace(config, num_classes=None, preprocess={**config.preprocess, "resize": "bilinear_antialias"})
