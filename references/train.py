"""Train a detector.

    python references/train.py experiment=demo
    torchrun --standalone --nproc-per-node=8 references/train.py model=ssd300_vgg16 dataset=coco dataset.root=/data/coco

Every option is in configs/train.yaml and detzoo/engine/config.py; `--cfg job` prints what a command line comes to.
"""

import hydra
from omegaconf import DictConfig

from detzoo.data import DATASETS, TRANSFORMS, evaluation_loader, training_loader
from detzoo.engine.checkpoint import Progress
from detzoo.engine.config import TrainConfig, check_run, register_configs, typed
from detzoo.engine.evaluate import check_same_classes, evaluate
from detzoo.engine.log import RunLog
from detzoo.engine.model import build_model
from detzoo.engine.optim import build_optimizer, build_schedule
from detzoo.engine.report import finish, keep_config
from detzoo.engine.run import Run, plain_errors, start_run
from detzoo.engine.train import train_one_epoch
from detzoo.lookup import build_part
from detzoo.metrics import METRICS

register_configs()


@hydra.main(config_path="../configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with plain_errors():
        config = typed(cfg, TrainConfig)
        check_run(config)
        with start_run(
            name=config.name,
            folder=config.folder,
            resume=config.resume,
            device=config.device,
            seed=config.seed,
            precision=config.precision,
        ) as run:
            train(config, run, cfg)


def train(config: TrainConfig, run: Run, written: DictConfig) -> None:
    """From the first image to the last picture; `written` is the config as composed, for the run folder."""
    train_set, val_set = (build_part(DATASETS, config.dataset[split], f"dataset.{split}") for split in ("train", "val"))
    check_same_classes(train_set.categories, val_set.categories)
    model = build_model(config, train_set.categories, run.device)
    augmentation = build_part(TRANSFORMS, config.transforms, "transforms")
    loader, workers = config.loader, run.workers(config.loader.workers)
    train_loader = training_loader(
        train_set,
        model.preprocess.size,
        augmentation,
        batch_size=loader.batch_size,
        seed=config.seed,
        workers=workers,
        limit=config.limit_batches,
    )
    val_loader = evaluation_loader(
        val_set, batch_size=loader.eval_batch_size, workers=workers, limit=config.limit_images
    )
    metric = build_part(METRICS, config.metric, "metric", annotations=val_set.annotations)

    optimizer = build_optimizer(model, config.optimizer)
    schedule = build_schedule(optimizer, config.schedule, epochs=config.epochs, steps_per_epoch=len(train_loader))
    keep_config(run, written)
    progress = Progress(model, config.model, optimizer, schedule, score=metric.primary)
    log = RunLog(run.folder)
    if config.resume:
        progress.resume(run.folder)
        log.restore(progress.rows)

    trainee = run.distribute(model)
    for epoch in progress.remaining(config.epochs, config.stop_after):
        row = {"epoch": epoch}
        row |= train_one_epoch(
            trainee, train_loader, optimizer, schedule, run=run, epoch=epoch, log_every=config.log_every
        )
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            row |= evaluate(model, val_loader, metric)
        log.record(row)
        progress.save(run.folder, row)
    log.close()
    finish(run, metric, val_loader, pictures=config.pictures, score_threshold=config.picture_threshold)


if __name__ == "__main__":
    main()
