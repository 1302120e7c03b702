"""What a training run is made of: the schema that Hydra holds `configs/train.yaml` and every override against."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from ..data import DATASETS, TRANSFORMS
from ..lookup import ConfigError, resolve_part, suggest
from ..metrics import METRICS
from ..models import MODELS, SSDConfig
from .optim import OPTIMIZERS, SCHEDULES

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
class TrainConfig:
    """A run. Parts (model, transforms, optimizer, schedule) are names or mappings, checked where they are built.

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
        precision: float32, or bfloat16 (automatic mixed precision).
        channels_last: memory layout of the network; faster on most CPUs and GPUs.
        device: auto (a GPU if there is one), cpu or cuda.
        seed: of weights, shuffling and augmentation.
        name: of the run, first part of its folder's name.
        folder: of the run; by default runs/<name>-<time>.
        resume: a run folder to go on with; its config is not read, give the same one.
        log_every: training steps between lines.
        stop_after: end after so many epochs in this session, schedule unchanged; null for all.
        limit_batches: training steps of an epoch at most; null for all.
        limit_images: images of an evaluation at most; null for all.
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
    precision: str = "float32"
    channels_last: bool = True
    device: str = "auto"
    seed: int = 0
    name: str = "train"
    folder: str | None = None
    resume: str | None = None
    log_every: int = 50
    stop_after: int | None = None
    limit_batches: int | None = None
    limit_images: int | None = None
    pictures: int = 8
    picture_threshold: float = 0.4


@dataclass
class EvaluateConfig:
    """A measurement.

    Attributes:
        source: a run folder, a checkpoint, or the name of a model with published weights.
        dataset: of which `val` is measured; null for that of the run folder.
        metric: a part of `detzoo.metrics.METRICS`.
        batch_size: images of a step, in each process.
        workers: loading processes beside each process.
        limit_images: images at most; null for all.
        device: auto (a GPU if there is one), cpu or cuda.
        output: a JSON file for the numbers; null to print them only.
        trust_parts: import parts that the checkpoint names by dotted path; only for files of your own.
        pictures: a folder for pictures of ground truth against detections; null for none.
        num_pictures: how many of them, spread evenly over the data set.
        picture_threshold: least score of a detection that is drawn.
    """

    source: str = MISSING
    dataset: Any = None
    metric: Any = "coco"
    batch_size: int = 8
    workers: int = 0
    limit_images: int | None = None
    device: str = "auto"
    output: str | None = None
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
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    for name, entry in MODELS.items():
        store.store(group="model", name=name, node=_training_form(entry.config))


def typed(config: DictConfig, schema: type[T]) -> T:
    """What Hydra composed as an object of its schema.

    Raises:
        ConfigError: for options that were added (`+option=...`) but that the schema does not have.
    """
    known = [field.name for field in fields(schema)]
    foreign = [f"no option {name!r}: {suggest(name, known)}" for name in map(str, config) if name not in known]
    if foreign:
        raise ConfigError(foreign)
    return OmegaConf.to_object(config)


def check_run(config: TrainConfig) -> None:
    """Look at every part and number of a run before anything is read.

    Raises:
        ConfigError: listing all that is wrong; the model's own problems come when it is built.
    """
    problems = [
        f"{name} = {value}: expected {least} or more"
        for name, value, least in (
            ("epochs", config.epochs, 1),
            ("evaluate_every", config.evaluate_every, 1),
            ("log_every", config.log_every, 1),
            ("stop_after", config.stop_after, 1),
            ("limit_batches", config.limit_batches, 1),
            ("limit_images", config.limit_images, 1),
            ("pictures", config.pictures, 0),
            ("loader.batch_size", config.loader.batch_size, 1),
            ("loader.eval_batch_size", config.loader.eval_batch_size, 1),
            ("loader.workers", config.loader.workers, 0),
        )
        if value is not None and value < least
    ]
    for table, part, what, derived in (
        (DATASETS, config.dataset and config.dataset.get("train"), "dataset.train", ()),
        (DATASETS, config.dataset and config.dataset.get("val"), "dataset.val", ()),
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


def _training_form(config: SSDConfig) -> SSDConfig:
    return replace(config, num_classes=None, preprocess={**config.preprocess, "resize": "bilinear_antialias"})
