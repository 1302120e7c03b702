"""Detectors in folders as the Hugging Face hub has them: weights, config.json, a model card."""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from ..exchange import save
from ..files import write_text
from ..models.checkpoint import FORMAT, SAVED
from ..models.opening import Opened, open_detector
from ..packages import package
from ..version import __version__
from .result import class_names

CONFIG, CARD = "config.json", "README.md"
LIBRARY = "library_name: detzoo"  # in the head of a card
LICENCE = re.compile(r"^license: (.+)$", re.MULTILINE)
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)  # owner/name
EXTRA = "hub"


def open_pretrained(
    source: str | Path, *, origin: str | None = None, trust_parts: bool = False, revision: str | None = None
) -> Opened:
    """A model and its config, by all that `detzoo.load` takes, by a folder that was written here, or from the hub.

    Raises:
        ValueError: if there is no such thing, or it cannot be read.
    """
    if _is_repository(source):
        source = _downloaded(str(source), revision)
    elif revision is not None:
        raise ValueError(f"revision={revision!r} is for owner/name on the hub, and {source} is none")
    return open_detector(source, origin=origin, trust_parts=trust_parts)


def _is_repository(source: str | Path) -> bool:
    """Whether this is a name on the hub: a path below a folder that is there is taken for a mistyped one."""
    text = str(source)
    return bool(REPOSITORY.fullmatch(text)) and not Path(text).exists() and not Path(text).parent.is_dir()


def _downloaded(name: str, revision: str | None) -> Path:
    """The folder to which the hub's client put weights and config. They cannot run code, and nothing else is fetched.

    Raises:
        ValueError: if it cannot be had, or has no such weights.
    """
    try:
        hub = package("huggingface_hub", EXTRA)
        folder = Path(hub.snapshot_download(name, revision=revision, allow_patterns=[SAVED, CONFIG]))
    except (OSError, ValueError) as error:  # of the client, which derives its own from these
        reason = " ".join(str(error).split())  # of several lines
        raise ValueError(f"no file or folder {name!r} here, and not to be had from the hub: {reason}") from error
    if not (folder / SAVED).is_file():
        raise ValueError(f"{name} on the hub has no {SAVED}: expected what Detector.push_to_hub writes")
    return folder


def save_folder(folder: str | Path, opened: Opened, *, licence: str | None = None, overwrite: bool = False) -> Path:
    """Write weights, config and card; each file is whole or not there. A card that was here keeps its licence, where
    no other is given.

    Raises:
        ValueError: naming them, for files of these names that were not written here, unless `overwrite` is said.
    """
    folder = Path(folder)
    there = [(folder / name, is_ours) for name, is_ours in OURS.items() if (folder / name).exists()]
    if not overwrite and (others := [str(path) for path, is_ours in there if not is_ours(path)]):
        raise ValueError(f"{', '.join(others)} would be lost: choose another folder, or say overwrite=True")
    licence = _licence_of(folder / CARD) if licence is None else licence
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".saving-") as unfinished:
        weights, config = save(Path(unfinished) / SAVED, opened)
        os.replace(weights, folder / SAVED)
        os.replace(config, folder / CONFIG)
    write_text(folder / CARD, card(opened, folder.name, licence))
    return folder


def _is_card(path: Path) -> bool:
    return f"\n{LIBRARY}\n" in _text_of(path)


def _text_of(path: Path) -> str:
    """Whatever it holds: it may be somebody else's."""
    return path.read_text(encoding="utf-8", errors="replace")


def _licence_of(path: Path) -> str | None:
    """What a card of ours says, if it is there and says one."""
    if not path.exists() or not _is_card(path):
        return None
    head, _, _ = _text_of(path).partition("\n---\n")
    found = LICENCE.search(head)
    return None if found is None else found[1]


def _is_config(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _is_weights(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


# The files of a folder, and whether what is there under such a name was written by detzoo.
OURS = {SAVED: _is_weights, CONFIG: _is_config, CARD: _is_card}


def push(
    name: str, opened: Opened, *, private: bool, token: str | None, message: str, licence: str | None = None
) -> str:
    """Write the same to a repository of the hub, and return its address."""
    if not REPOSITORY.fullmatch(name):
        raise ValueError(f"{name!r} is no repository of the hub: expected owner/name")
    api = package("huggingface_hub", EXTRA).HfApi(token=token)
    with TemporaryDirectory(prefix="detzoo-") as folder:
        save_folder(folder, opened, licence=licence)
        write_text(Path(folder) / CARD, card(opened, name, licence))
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=message)
    return str(address)


def card(opened: Opened, name: str, licence: str | None = None) -> str:
    """A model card: what the hub wants to know, and what people do."""
    model, parts = opened.model, opened.config.as_dict()
    head = [LIBRARY, "pipeline_tag: object-detection", "tags:", "- object-detection", "- ssd"]
    head += [f"license: {licence}"] if licence else []
    count = sum(tensor.numel() for tensor in model.parameters())
    height, width = model.preprocess.size
    facts = [
        f"A single-shot detector of {width}x{height} pixels with {count:,} parameters, made with detzoo {__version__}.",
        f"Trunk: `{_name_of(parts['backbone'])}`. Head: `{_name_of(parts['head'])}`.",
        f"Classes: {', '.join(class_names(model))}.",
    ]
    use = ["from detzoo import Detector", "", f'detector = Detector.from_pretrained("{name}")', 'detector("photo.jpg")']
    lines = ["---", *head, "---", "", f"# {name}", "", *facts, "", "```python", *use, "```", ""]
    return "\n".join(lines)


def _name_of(part: object) -> str:
    return str(part["name"] if isinstance(part, dict) else part)
