"""Train a detector.

    python references/train.py experiment=demo
    torchrun --standalone --nproc-per-node=8 references/train.py model=ssd300_vgg16 dataset=coco dataset.root=/data/coco

Every option is in configs/train.yaml and detzoo/engine/config.py; `--cfg job` prints what a command line comes to.
"""

import hydra
from omegaconf import DictConfig

from detzoo.engine.checkpoint import fingerprint
from detzoo.engine.config import TrainConfig, check_run, fast_dev_form, register_configs, typed
from detzoo.engine.data import build_datasets, build_evaluation_loader, build_training_loader
from detzoo.engine.evaluate import evaluate
from detzoo.engine.log import RunLog
from detzoo.engine.model import build_model, build_progress, build_updater, check_sizes, load_weights_alone
from detzoo.engine.report import finish, keep_config, report
from detzoo.engine.run import Run, plain_errors, start_run
from detzoo.engine.train import Meter, train_one_epoch
from detzoo.lookup import build_part
from detzoo.metrics import METRICS

register_configs()


@hydra.main(config_path="../configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with plain_errors():
        config = typed(cfg, TrainConfig)
        check_run(config)
        if config.fast_dev_run:
            config = fast_dev_form(config)
        with start_run(
            name=config.name,
            folder=config.folder,
            resume=config.resume,
            device=config.device,
            seed=config.seed,
            precision=config.precision,
            epochs=config.epochs,
            throw_away=bool(config.fast_dev_run),
        ) as run:
            train(config, run, cfg)


def train(config: TrainConfig, run: Run, written: DictConfig) -> None:
    """From the first image to the last picture; `written` is the config as composed, for the run folder."""
    train_set, val_set = build_datasets(config)
    val_loader = build_evaluation_loader(config, run, val_set)
    metric = build_part(METRICS, config.metric, "metric", annotations=val_set.annotations)
    drawn = {"pictures": config.pictures, "score_threshold": config.picture_threshold}
    if config.test_only:
        model = load_weights_alone(config, run.device)
        report(run, model, metric, val_loader, {"weights": config.weights}, **drawn)
        return

    model = build_model(config, train_set.categories, run)
    train_loader = build_training_loader(config, run, train_set, model.preprocess.size)
    check_sizes(model, train_loader.batch_sampler.sizes)
    keep_config(run, written)
    steps, data = len(train_loader), fingerprint(train_set)
    progress = build_progress(config, model, run, steps_per_epoch=steps, score=metric.primary, data=data)
    updater = build_updater(config, progress, run)
    log = RunLog(run.folder, progress.rows, first_step=progress.steps_done(steps) + 1)

    def after_step(meter: Meter) -> None:
        if config.checkpoint_every and meter.done % config.checkpoint_every == 0 and meter.done < steps:
            progress.save(run.folder, meter.state())

    for epoch in progress.remaining(config.epochs, config.stop_after):
        row = {"epoch": epoch} | train_one_epoch(
            updater,
            train_loader,
            epoch=epoch,
            meter=progress.take_meter(),
            log=log,
            log_every=config.log_every,
            after_step=after_step,
        )
        if epoch % config.evaluate_every == 0 or epoch == config.epochs:
            row |= evaluate(progress.measured, val_loader, metric)
        progress.end_epoch(run.folder, row)
        log.record_epoch()
    log.close()
    finish(run, progress, metric, val_loader, **drawn)


if __name__ == "__main__":
    main()
