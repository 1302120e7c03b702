"""What there is to say of published weights, in words: for `detzoo list` and `detzoo show`."""

from collections.abc import Iterator

from .weights import WeightsEnum
from .zoo import MODELS, list_models

NONE = "no published weights"
LEGEND = """
* the default of its model. Numbers are their publishers'. Verified architecture: with random weights it finds what the
original's code finds. Fetched: at first use. By hand: by a person, from a page that `detzoo show MODEL` names. Gone:
the address is said to answer no more; what somebody has put into the cache is taken.
"""
_WAYS = {"fetched": "fetched from", "by hand": "by hand from", "gone": "said to be gone from"}


def list_published() -> Iterator[str]:
    """The lines of `detzoo list`: the models, and under each a line for every published file."""
    rows = {str(member): _row(member) for entry in MODELS.values() for member in entry.weights or ()}
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    for name in list_models():
        catalogue = MODELS[name].weights
        yield name if catalogue else f"{name}: {NONE}"
        for member in catalogue or ():
            cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(rows[str(member)], widths, strict=True))
            yield f" {'*' if member is catalogue['DEFAULT'] else ' '} {cells}".rstrip()
    yield from LEGEND.rstrip().split("\n")


def sentences(member: WeightsEnum) -> list[str]:
    """What `detzoo show MODEL` says of one of its files, in lines."""
    card = member.meta
    whose = f"as {card['origin']} states" if card["metrics"] else f"of {card['origin']}"
    return [
        f"{member}: {_numbers(member)}, {whose}",
        f"  {card['state']}, licence {_licence(member)}, {_WAYS[_way(member)]} {member.url}",
    ]


def card_rows(member: WeightsEnum) -> list[tuple[str, str]]:
    """What `detzoo show MEMBER` says of it: a word and what it stands for. Nothing is fetched for that."""
    card, weights = member.meta, member.value
    size = f", {card['file_size']:g} MB" if "file_size" in card else ""
    name = f"{weights.file}, " if weights.file else ""
    names = member.categories.names
    model = next(model for model, entry in MODELS.items() if entry.weights is type(member))
    return [
        ("weights", f"{member}, of {card['origin']}"),
        ("model", model),
        ("published", _numbers(member)),
        ("state", card["state"]),
        ("licence", _licence(member)),
        ("classes", f"{len(names)}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"),
        ("file", f"{name}{_WAYS[_way(member)]} {member.url}{size}"),
        ("hash", _hash(member)),
        ("read as", weights.reading),
    ]


def _row(member: WeightsEnum) -> tuple[str, ...]:
    return member.name, _numbers(member), member.meta["state"], _licence(member), _way(member)


def _numbers(member: WeightsEnum) -> str:
    metrics = member.meta["metrics"].items()
    stated = [f"{value} {metric} on {data}" for data, values in metrics for metric, value in values.items()]
    return ", ".join(stated) or "no metric"


def _licence(member: WeightsEnum) -> str:
    return member.meta["licence"] or "none stated"


def _way(member: WeightsEnum) -> str:
    if member.meta.get("gone"):
        return "gone"
    return "fetched" if member.value.file is None else "by hand"


def _hash(member: WeightsEnum) -> str:
    weights = member.value
    if weights.sha1 is not None:
        return f"sha1 {weights.sha1}"
    if weights.sha256 is None:
        return "none stated"
    return f"sha256 {weights.sha256}" if len(weights.sha256) == 64 else f"sha256 begins {weights.sha256}"
