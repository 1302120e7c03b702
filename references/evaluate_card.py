"""The card of a measurement by references/evaluate.py: of published weights, or of a run of references/train.py."""

import csv
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from detzoo.data import DATASETS
from detzoo.engine.card_kinds import Data, Measured, Trained, Training
from detzoo.engine.cards import Card, write_card
from detzoo.engine.config import EvaluateConfig
from detzoo.engine.made import Machine, Made, made_here, portable
from detzoo.engine.report import CONFIG, FREE
from detzoo.files import write_text
from detzoo.lookup import build_part, split_part
from detzoo.models import MODELS, SSDConfig
from detzoo.models.checkpoint import checkpoint_in
from detzoo.models.entry import NETWORK
from detzoo.models.opening import named_weights

PART = re.compile(r"(train|val|test)\d*|images")  # what COCO and others call folders of a data set
LOG, METRICS = "log.csv", "metrics.json"  # in a run folder


def write_card_of(
    config: EvaluateConfig, network: SSDConfig, data: Mapping[str, Any], report: Mapping[str, Any], device: torch.device
) -> None:
    """Write `config.card`, and beside it the log of the run, if it is one.

    Args:
        config: of the measurement.
        network: of the model.
        data: the part that is the data set.
        report: what `metric_report` gave.
        device: that was computed on.
    """
    path, folder = Path(config.card), run_folder(config.source)
    if folder is not None:
        write_text(path.with_suffix(".csv"), (folder / LOG).read_text())
    options = {name: value for name, value in asdict(config).items() if value is not None}
    log = None if folder is None else path.with_suffix(".csv").name
    write_card(
        path,
        card_of(
            config,
            network,
            data_facts(data, "val", report["images"]),
            report,
            made_here(device, config=options, log=log),
        ),
    )


def card_of(config: EvaluateConfig, network: SSDConfig, data: Data, report: Mapping[str, Any], made: Made) -> Card:
    """Of weights trained here where they lie in a run folder, else of somebody's."""
    metrics, per_class = report["metrics"], report["per_class"]
    folder = run_folder(config.source)
    if folder is not None:
        suppression, _ = split_part(config.postprocess or network.postprocess, "postprocess")
        return Trained(
            model=model_name(network),
            sha256=sha256_of(checkpoint_in(config.source)),
            data=data,
            metrics=metrics,
            per_class=per_class,
            suppression=suppression,
            training=training_of(folder),
            made=made,
        )
    member = named_weights(config.source, config.origin)
    return Measured(
        model=model_name(network) if member is None else owner(type(member)),
        weights=None if member is None else member.name,
        sha256=sha256_of(Path(config.source) if member is None else member.value.fetch(progress=False)),
        data=data,
        metrics=metrics,
        per_class=per_class,
        made=made,
    )


def run_folder(source: str) -> Path | None:
    """The folder of the run that this is, or is a checkpoint of."""
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    return folder if (folder / CONFIG).is_file() else None


def check_whole(source: str) -> None:
    """Raise a ValueError if this is of a run that is not finished: its number would be that of no recipe."""
    folder = run_folder(source)
    if folder is None:
        return
    wanted, done = OmegaConf.load(folder / CONFIG).epochs, len(log_rows(folder))
    if done != wanted or not (folder / METRICS).is_file():
        raise ValueError(f"{folder} has {done} of {wanted} epochs: a card is of a run that came to its end")


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


def training_of(folder: Path) -> Training:
    """The budget of a run."""
    config = OmegaConf.to_container(OmegaConf.load(folder / CONFIG), resolve=True)
    made = json.loads((folder / METRICS).read_text())
    command, there = repeatable(made["command"]), made["machine"]
    part = config["dataset"]["train"]
    return Training(
        recipe=recipe_of(shlex.split(command)),
        command=command,
        data=data_facts(part, "train", len(build_part(DATASETS, part, "dataset.train"))),
        epochs=config["epochs"],
        seconds=round(sum(float(row["seconds"]) for row in log_rows(folder)), 1),
        machine=Machine(
            processor=there["processor"],
            cores=None,
            threads=there["threads"],
            memory=None,
            gpu=None if there["accelerator"] == "none" else there["accelerator"],
        ),
        precision=config["precision"],
        seed=config["seed"],
        config=portable({name: value for name, value in config.items() if name not in FREE}),
    )


def recipe_of(words: Sequence[str]) -> str | None:
    """The recipe that a command line names."""
    return next((word.partition("=")[2] for word in words if word.startswith("experiment=")), None)


def repeatable(command: str) -> str:
    """A command of references/train.py without what says where and how often it writes."""
    _, *words = shlex.split(command)
    kept = [word for word in words if word.partition("=")[0] not in FREE]
    return portable(shlex.join(["python", "references/train.py", *kept]))


def data_facts(part: Mapping[str, Any], half: str, images: int) -> Data:
    """A data set in words: of several joined ones all names, of a folder its name, of what is drawn that of the
    reader; `half` (train or val) where it has no parts.
    """
    sets = part.get("sets") or [part]
    names = [_folder(each) or each["name"] for each in sets]
    splits = dict.fromkeys(str(each.get("split") or _half_of(each, half)) for each in sets)
    return Data(name=" + ".join(names), split=", ".join(splits), images=images)


def _folder(part: Mapping[str, Any]) -> str | None:
    """The name of its folder; of images that are a part of it, beside their annotations, that of the whole."""
    if part.get("root"):
        return Path(part["root"]).name
    if not part.get("images"):
        return None
    images, whole = Path(part["images"]), Path(part["images"]).parent
    is_part = PART.fullmatch(images.name) and whole in Path(part["annotations"]).parents
    return whole.name if is_part else images.name


def _half_of(part: Mapping[str, Any], half: str) -> str:
    """COCO's halves are folders: val2017 for val."""
    folder = Path(part.get("images") or "").name
    return folder if re.fullmatch(rf"{half}\d*", folder) else half


def model_name(network: SSDConfig) -> str:
    """The model of the zoo that this is; else its trunk and size."""
    mine = network.as_dict()
    for name, entry in MODELS.items():
        if all(mine[field] == entry.config.as_dict()[field] for field in NETWORK):
            return name
    height, width = network.size
    return f"{split_part(network.backbone, 'backbone')[0]}, {height}x{width}"


def owner(catalogue: type) -> str:
    """The model whose published weights an enum lists."""
    return next(name for name, entry in MODELS.items() if entry.weights is catalogue)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
