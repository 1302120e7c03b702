"""Measure a model on a data set.

    python references/evaluate.py source=runs/demo-20260101-120000
    python references/evaluate.py source=ssd300_vgg16 dataset=coco dataset.root=/data/coco output=ssd300_coco.json
    python references/evaluate.py source=runs/mine postprocess.name=soft_nms postprocess.method=gaussian

`source` is a run folder (measured on its own validation set unless another is named), a checkpoint, or the name of a
model whose published weights are fetched. Images are fed whole, and the model resizes them as its weights want it.
`postprocess` takes the place of the model's own suppression, limits included. Parts of your own that a checkpoint names
by dotted path are imported with trust_parts=true. Runs under torchrun as well: each process takes its share.
`card=references/cards/trained/NAME.json` keeps the numbers for MODEL_ZOO.md, with what they were made with.
"""

import json
from pathlib import Path

import hydra
import torch
from evaluate_card import check_whole, write_card_of
from omegaconf import DictConfig

from detzoo import distributed
from detzoo.components import POSTPROCESSES
from detzoo.data import DATASETS, evaluation_loader
from detzoo.engine.config import EvaluateConfig, register_configs, typed
from detzoo.engine.evaluate import evaluate
from detzoo.engine.report import dataset_of_run, draw_pictures, metric_report
from detzoo.engine.run import plain_errors, start_processes
from detzoo.files import write_json
from detzoo.lookup import build_part
from detzoo.metrics import METRICS
from detzoo.models.opening import open_detector

register_configs()


@hydra.main(config_path="../configs", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with plain_errors():
        config = typed(cfg, EvaluateConfig)
        with start_processes(config.device) as device:
            measure(config, device)


def measure(config: EvaluateConfig, device: torch.device) -> None:
    """From the first image to the report."""
    if config.card:
        check_whole(config.source)
    postprocess = build_part(POSTPROCESSES, config.postprocess, "postprocess") if config.postprocess else None
    data = (config.dataset or dataset_of_run(config.source))["val"]
    dataset = build_part(DATASETS, data, "dataset.val")
    loader = evaluation_loader(dataset, batch_size=config.batch_size, workers=config.workers, limit=config.limit_images)
    metric = build_part(METRICS, config.metric, "metric", annotations=dataset.annotations)
    opened = open_detector(config.source, origin=config.origin, trust_parts=config.trust_parts)
    model = opened.model.to(device)
    if postprocess is not None:
        model.postprocess = postprocess
    numbers = evaluate(model, loader, metric)
    if distributed.is_main():
        facts = {"source": config.source, "data": data}
        facts |= {} if postprocess is None else {"postprocess": config.postprocess}
        report = metric_report(metric, numbers, facts, device)
        print(json.dumps(report, indent=2))
        if config.output:
            write_json(Path(config.output), report)
        if config.card:
            write_card_of(config, opened.config, data, report, device)
    if config.pictures:
        folder = Path(config.pictures)
        draw_pictures(model, dataset, folder, count=config.num_pictures, score_threshold=config.picture_threshold)


if __name__ == "__main__":
    main()
