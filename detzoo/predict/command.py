"""`detzoo predict`: its options, and what it does."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arguments import fraction, whole_number
from ..deploy.backends import BACKENDS
from ..lookup import suggest
from .detector import SCORE_THRESHOLD, Detector
from .outputs import FILES, FORMATS, PICTURES, TABLES, Classes, Lines
from .overlap import WORKERS
from .pipeline import Pipeline
from .report import Report, count, summary
from .shards import Shards, fingerprint, part_of, under_torchrun, write_shard
from .sources import CALIBRATION, STANDARD_INPUT, check_sources, find, images_of, searched_folders, single_files

UNREADABLE = 1  # exit status where an image could not be read; 2 is for what a user got wrong
INTERRUPTED = 130
# argparse takes all words after an option with a list for the list
USAGE = """%(prog)s SOURCE [SOURCE ...] [options]
       %(prog)s [options] -- SOURCE [SOURCE ...]
a list ends with the next option or --, such as: %(prog)s --classes cat dog -- photos"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command, but for those it shares with others."""
    parser.usage = USAGE
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="an image, a folder, a pattern, an address, a video, camera:0, or - for a list on standard input",
    )
    parser.add_argument(
        "--model",
        default="ssdlite320_mobilenet_v3_large",
        help="a name of `detzoo list`, whose weights are fetched, a run folder, a checkpoint, another project's file, "
        "owner/name on the Hugging Face hub (default: %(default)s)",
    )
    _add_detector(parser.add_argument_group("what is found"))
    _add_engine(parser.add_argument_group("how it is computed"))
    _add_output(parser.add_argument_group("what is written"))


def _add_detector(group: Any) -> None:
    group.add_argument(
        "--score-threshold",
        type=fraction,
        default=SCORE_THRESHOLD,
        metavar="S",
        help="least score that is kept (default: %(default)s)",
    )
    group.add_argument(
        "--iou-threshold",
        type=fraction,
        metavar="IOU",
        help="a box goes if a better one of its class overlaps it by more (default: the model's)",
    )
    group.add_argument(
        "--classes",
        nargs="+",
        type=_words,
        metavar="NAME",
        help="classes that are kept, of the boxes that the model keeps (default: all)",
    )
    group.add_argument("--top", type=whole_number, metavar="N", help="boxes that are kept of an image, the best ones")
    group.add_argument(
        "--frames", type=whole_number, metavar="N", help="frames that are looked at of a video or camera"
    )


def _add_engine(group: Any) -> None:
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: a GPU if there is one)")
    group.add_argument(
        "--backend", default="eager", help=f"what computes the network: {', '.join(BACKENDS)} (default: %(default)s)"
    )
    group.add_argument(
        "--precision", default="float32", help="of its numbers: float32, bfloat16, float16, int8 (default: %(default)s)"
    )
    group.add_argument(
        "--calibration",
        nargs="+",
        metavar="SOURCE",
        help=f"images like those to come, for int8; the first {CALIBRATION} are used",
    )
    group.add_argument(
        "--batch-size", type=whole_number, default=8, metavar="N", help="images at once (default: %(default)s)"
    )
    group.add_argument(
        "--workers",
        type=whole_number,
        default=WORKERS,
        metavar="N",
        help="threads that read images, and that write pictures, meanwhile (default: %(default)s)",
    )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--output", type=Path, default=Path("detections"), metavar="FOLDER", help="(default: %(default)s)"
    )
    group.add_argument(
        "--format",
        nargs="+",
        type=_words,
        default=[[PICTURES]],
        metavar="FORMAT",
        dest="formats",
        help=f"one or more of {', '.join(FORMATS)} (default: {PICTURES}, of videos as well)",
    )
    group.add_argument("--quiet", action="store_true", help="do not print boxes")
    group.add_argument(
        "--resume", action="store_true", help="go on with what a run that was stopped has finished, if there was one"
    )
    group.add_argument("--shard", metavar="K/N", help="do part K of N, each in a process; torchrun does without")
    group.add_argument(
        "--shard-size", type=whole_number, default=1000, metavar="N", help="images that are finished together"
    )


def run(options: argparse.Namespace) -> int:
    """Detect in all sources; the exit status says whether all of them could be read.

    Raises:
        ValueError: for what a user got wrong.
    """
    part = part_of(options.shard)
    formats = _formats(options.formats)
    sharded, keep = part.count > 1, part.count > 1 or options.resume
    shards = Shards(options.output, options.shard_size, part)
    _check(options, formats, sharded, may_overwrite=keep and shards.have_begun())
    detector = _detector(options)
    shards.begin(_identity(options, formats, detector), resume=keep)
    try:
        counts = _detect(options, detector, formats, shards, quiet=options.quiet or sharded)
        if shards.are_finished():
            counts = _finish(options.output, formats, detector, shards, counts)
            if not keep:
                shards.remove()
    except KeyboardInterrupt:
        how = "the same line" if sharded else "the same line with --resume"
        print(f"detzoo: interrupted; {how} goes on with it", file=sys.stderr)
        return INTERRUPTED
    finally:
        if not keep:
            shards.remove_if_empty()
    return _status(counts["unreadable"])


def _status(unreadable: int) -> int:
    """The exit status; of several processes one that ends with 1 would take the others with it."""
    if unreadable and under_torchrun():
        print(f"detzoo: exit status 0 in spite of {unreadable} unreadable: torchrun ends all at 1", file=sys.stderr)
        return 0
    return UNREADABLE if unreadable else 0


def _detect(
    options: argparse.Namespace, detector: Detector, formats: Sequence[str], shards: Shards, *, quiet: bool
) -> Counter[str]:
    """Do the shards of this process; what was found in them, counted."""
    report = Report(quiet=quiet, total=single_files(options.sources))
    pipeline = Pipeline(
        detector,
        pictures=options.output if PICTURES in formats else None,
        top=options.top,
        workers=options.workers,
        frames=options.frames,
        opened=report.expect,
    )
    try:
        for shard in shards.mine(find(options.sources, leave_out=options.output)):
            write_shard(shard.path, report.passing(pipeline(shard.items)))
        if not shards.all:
            raise ValueError(f"no image and no video in {', '.join(options.sources)}")
    finally:
        line = report.close()
    print(f"detzoo: {line}", file=sys.stderr)
    return report.counts


def _finish(
    output: Path, formats: Sequence[str], detector: Detector, shards: Shards, mine: Counter[str]
) -> Counter[str]:
    """Make of all shards what was asked for; what is in them, counted, of which `mine` was told already."""
    shards.clean()
    lines, classes = Lines(shards.all), Classes(detector.names, detector.ids)
    paths = [path for name in formats if name in TABLES for path in TABLES[name](lines, output, classes)]
    paths += [output] if PICTURES in formats else []
    counts: Counter[str] = Counter()
    for line in lines:
        count(counts, line)
    others = "" if counts == mine else f"{summary(counts)} in all, "
    print(f"detzoo: {others}written: {', '.join(map(str, paths))}", file=sys.stderr)
    return counts


def _detector(options: argparse.Namespace) -> Detector:
    return Detector.from_pretrained(
        options.model,
        backend=options.backend,
        precision=options.precision,
        device=options.device,
        batch_size=options.batch_size,
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        classes=None if options.classes is None else sum(options.classes, []),
        calibration=None if options.calibration is None else images_of(options.calibration, CALIBRATION),
        origin=options.origin,
        trust_parts=options.trust_parts,
    )


def _identity(options: argparse.Namespace, formats: Sequence[str], detector: Detector) -> dict[str, Any]:
    """What must be the same for what was found to be the same."""
    names = ("model", "score_threshold", "iou_threshold", "top", "frames", "backend", "precision", "shard_size")
    identity = {name: getattr(options, name) for name in names}
    classes = None if options.classes is None else sorted(sum(options.classes, []))
    config = None if detector.config is None else detector.config.as_dict()
    return {
        **identity,
        "sources": options.sources,
        "calibration": options.calibration,
        "classes": classes,
        "weights": fingerprint(detector.model, config, detector.names, detector.ids),
        PICTURES: PICTURES in formats,
    }


def _check(options: argparse.Namespace, formats: Sequence[str], sharded: bool, *, may_overwrite: bool) -> None:
    """Raise a ValueError for what cannot go well, before anything is loaded. Tables may be written over if a run that
    is gone on with made them: whether it is this one is looked at later.
    """
    check_sources(options.sources + (options.calibration or []))
    if sharded and (alone := [s for s in options.sources if s == STANDARD_INPUT or s.startswith("camera:")]):
        raise ValueError(f"{', '.join(alone)} cannot be shared by several processes: give them a folder or files")
    output = os.path.realpath(options.output)
    if same := [source for source, folder in searched_folders(options.sources) if folder == output]:
        raise ValueError(f"--output {options.output} is where images are looked for ({same[0]}): choose another one")
    written = [options.output / file for name in formats if name in TABLES for file in FILES[name]]
    if not may_overwrite and (there := [path for path in written if path.exists()]):
        raise ValueError(f"{', '.join(map(str, there))} would be lost: choose another --output, or delete it")


def _formats(given: Sequence[Sequence[str]]) -> list[str]:
    formats = list(dict.fromkeys(sum(given, [])))
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"--format: no such format {name!r}: {suggest(name, FORMATS)}")
    return formats


def _words(text: str) -> list[str]:
    """Names in one word of the command line, between commas."""
    return [word for word in (part.strip() for part in text.split(",")) if word]
