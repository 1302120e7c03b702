"""What a training run is made of: the schema that Hydra holds `configs/train.yaml` and every override against."""

from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from ..models import MODELS


@dataclass
class LoaderConfig:
    """How images are fed.

    Attributes:
        batch_size: images of a training step, over all processes.
        eval_batch_size: images of an evaluation step, in each process.
        workers: loading processes beside each training process.
    """

    batch_size: int = 16
    eval_batch_size: int = 8
    workers: int = 0


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
        dataset: of which `val` is measured.
        metric: a part of `detzoo.metrics.METRICS`.
        batch_size: images of a step, in each process.
        workers: loading processes beside each process.
        limit_images: images at most; null for all.
        device: auto (a GPU if there is one), cpu or cuda.
        output: a JSON file for the numbers; null to print them only.
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
    pictures: str | None = None
    num_pictures: int = 8
    picture_threshold: float = 0.4


def register_configs() -> None:
    """Offer the schema and every preset of the zoo to Hydra: `model=ssd300_vgg16` is `SSD300_VGG16`, number for number.

    Only `num_classes` is left out: in training it follows from the data set.
    """
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
    for name, entry in MODELS.items():
        store.store(group="model", name=name, node=replace(entry.config, num_classes=None))
