"""What a file is, or would be once it is fetched: `detzoo inspect`."""

from pathlib import Path
from typing import NamedTuple

from ..categories import Categories
from ..importers import Reading
from ..importers.readers import Container, shown, shown_name
from ..models import SSDConfig, WeightsEnum
from ..models.checkpoint import categories_of, foreign_parts
from ..models.config import read_config
from ..models.misfits import first
from ..models.opening import Identified, identify, identify_published, named_weights, problems_of
from ..models.presets import config_of
from ..models.published import card_rows
from ..models.weights import is_address
from .words import compact


class Report(NamedTuple):
    """What a file is.

    Attributes:
        container: what was read; None for published weights that are not here yet.
        reading: how it is understood; None for a checkpoint of detzoo's own.
        config: what would be built; None as above.
        categories: what its labels mean; None where nobody says.
        changes: what is done to its tensors besides renaming them.
        assumed: what it does not say.
        problems: why `detzoo.load` would refuse it.
        published: what the catalogue says, for a name of that.
    """

    container: Container | None
    reading: Reading | None
    config: SSDConfig | None
    categories: Categories | None
    changes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    published: WeightsEnum | None = None


def inspect(source: str | Path, origin: str | None = None) -> Report:
    """Look at a file, or at what the catalogue says of published weights and, if it is here already, at their file.

    No weights are made, nothing of the file is run, and no network is needed.

    Args:
        source: path of a file or run folder, or a name of published weights or of a model that has some.
        origin: whose file it is, where that is not recognised.

    Raises:
        ValueError: for a file that cannot be read, or that could be several things, which are listed; for an address.
    """
    if is_address(source):
        raise ValueError(f"{source} is an address, and nothing is fetched to be inspected: detzoo convert fetches it")
    named = named_weights(source, origin)
    if named is None:
        return _report(identify(source, origin))
    if not named.value.place.exists():
        return Report(None, None, None, named.categories, published=named)
    return _report(identify_published(named))._replace(published=named)


def _report(found: Identified) -> Report:
    container, record, imported = found.container, found.record, found.imported
    problems = tuple(problems_of(found))
    if imported is None:
        own = tuple(f"its tensors fit {part}, a part of somebody's own" for part in foreign_parts(record["config"]))
        config, categories = read_config(record["config"]), categories_of(record)
        return Report(container, None, config, categories, assumed=own, problems=problems)
    config, told = config_of(imported), (imported.changes, imported.assumed)
    return Report(container, found.reading, config, imported.categories, *told, problems)


def format_report(report: Report) -> str:
    """What `detzoo inspect` prints."""
    lines = [_title(report)]
    if report.published is not None:
        lines += [f"{name:<14} {said}" for name, said in card_rows(report.published) if name != "classes"]
    if report.container is not None:
        whose = f"{report.reading.name}: {report.reading.about}" if report.reading else "a checkpoint of detzoo"
        lines.append(f"origin         {whose}")
    names = "without names" if report.categories is None else ", ".join(map(shown_name, report.categories.names))
    lines.append(f"classes        {_num_classes(report)} with background: {names}")
    if report.config is not None:
        fields = report.config.as_dict()
        lines += [f"{name:<14} {compact(part)}" for name, part in fields.items() if name != "num_classes" and part]
    lines += [f"changed        {line}" for line in report.changes]
    lines += [f"assumed        {line}" for line in report.assumed]
    return shown("\n".join(lines + [f"does not load: {line}" for line in first(report.problems)]))


def _title(report: Report) -> str:
    if report.container is None:
        return f"{report.published}: published weights, whose file is not at {report.published.value.place} yet"
    tensors = report.container.tensors
    count = sum(tensor.numel() for tensor in tensors.values())
    form = report.container.metadata.get("format", report.container.kind)
    return f"{report.container.path}: {report.container.kind} file ({form}), {len(tensors)} tensors, {count:,} numbers"


def _num_classes(report: Report) -> int:
    return report.config.num_classes if report.config is not None else report.categories.num_classes
