"""The data sets and loaders of a run, as its config says."""

import numpy as np

from .. import distributed
from ..data import (
    DATASETS,
    TRANSFORMS,
    DetectionDataset,
    EvaluationLoader,
    TrainingLoader,
    check_images,
    evaluation_loader,
    subset,
    training_loader,
)
from ..lookup import build_part
from .config import TrainConfig
from .evaluate import check_same_classes
from .run import Run


def build_datasets(config: TrainConfig) -> tuple[DetectionDataset, DetectionDataset]:
    """The training and the validation set, their images looked at; where nothing is trained, the latter twice.

    Raises:
        ValueError: for files that are broken, or classes that differ.
    """
    val_set = _read(config, "val")
    if config.test_only:
        return val_set, val_set
    train_set = _read(config, "train")
    check_same_classes(train_set.categories, val_set.categories)
    if config.overfit_batches is None:
        return train_set, val_set
    few = subset(train_set, range(min(config.overfit_batches * config.loader.batch_size, len(train_set))))
    return few, few


def _read(config: TrainConfig, split: str) -> DetectionDataset:
    """One of the two sets, without what is broken if that is to be dropped; rank 0 looks at the images for all."""
    dataset = build_part(DATASETS, config.dataset[split], f"dataset.{split}")
    kept = None
    if distributed.is_main():
        checked = check_images(dataset, config.check_images, broken=config.broken_images)
        kept = np.flatnonzero(np.isin(dataset.annotations.image_ids, checked.annotations.image_ids))
    kept = distributed.from_main(kept)
    return dataset if len(kept) == len(dataset) else subset(dataset, kept)


def build_training_loader(
    config: TrainConfig, run: Run, dataset: DetectionDataset, size: tuple[int, int]
) -> TrainingLoader:
    """Augmented batches.

    Args:
        config: of the run.
        run: says how many processes load.
        dataset: to train on.
        size: height and width of the network's input.

    Raises:
        ValueError: if the batch cannot be shared evenly by the processes and the parts of a step.
    """
    loader = config.loader
    shares = distributed.world_size() * config.accumulate
    if loader.batch_size % shares:
        raise ValueError(
            f"loader.batch_size = {loader.batch_size} images a step cannot be shared evenly by "
            f"{distributed.world_size()} processes with accumulate = {config.accumulate} parts each"
        )
    return training_loader(
        dataset,
        size,
        build_part(TRANSFORMS, config.transforms, "transforms"),
        batch_size=loader.batch_size,
        seed=config.seed,
        workers=run.workers(loader.workers),
        limit=config.limit_batches,
    )


def build_evaluation_loader(config: TrainConfig, run: Run, dataset: DetectionDataset) -> EvaluationLoader:
    """Whole images."""
    loader = config.loader
    return evaluation_loader(
        dataset, batch_size=loader.eval_batch_size, workers=run.workers(loader.workers), limit=config.limit_images
    )
