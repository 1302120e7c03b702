"""Fetch the official archives of a data set, check their hashes, unpack them.

    python references/download.py voc --root /data        # PASCAL VOC 2007 and 2012: 2.9 GB, and as much unpacked
    python references/download.py coco --root /data/coco  # COCO 2017: 20.4 GB, and as much unpacked
    python references/download.py banana --root /data     # of Dive into Deep Learning: 1100 small pictures

A download that was cut goes on where it stopped when the same command is given again; what is there already is left
alone. Archives put into the root by hand are used.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from detzoo.engine.run import plain_errors
from detzoo.files import unpack
from detzoo.hub import DownloadError, fetch

ATTEMPTS = 3  # at an address, each going on where the one before was cut


class Archive(NamedTuple):
    """Where an archive can be had (the official address first) and its hash, sha256 unless that is not published."""

    urls: tuple[str, ...]
    sha256: str | None = None
    sha1: str | None = None


class Piece(NamedTuple):
    """A folder below the root, and the archives that hold it."""

    folder: str
    archives: tuple[Archive, ...]


class DataSet(NamedTuple):
    """Pieces by the word that asks for them, those that always come, and what one does next with which pieces."""

    pieces: dict[str, Piece]
    always: tuple[Piece, ...]
    commands: dict[tuple[str, ...], str]


def _voc(file: str, year: int, sha256: str) -> Archive:
    official = f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/{file}"
    return Archive((official, f"https://pjreddie.com/media/files/{file}"), sha256)


def _coco(path: str, sha256: str) -> Archive:
    return Archive((f"http://images.cocodataset.org/{path}",), sha256)


# The sha256 of VOC and COCO are those of TensorFlow Datasets (tensorflow_datasets/url_checksums/voc.txt, coco2017.txt);
# torchvision's prototype of its data sets has the same for VOC. The sha1 of the bananas is that of the book.
VOC_2007 = Piece(
    "VOCdevkit/VOC2007",
    (
        _voc("VOCtrainval_06-Nov-2007.tar", 2007, "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508"),
        _voc("VOCtest_06-Nov-2007.tar", 2007, "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892"),
    ),
)
VOC_2012 = Piece(
    "VOCdevkit/VOC2012",
    (_voc("VOCtrainval_11-May-2012.tar", 2012, "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),),
)
COCO_TRAIN = Piece(
    "train2017",
    (_coco("zips/train2017.zip", "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929"),),
)
COCO_VAL = Piece(
    "val2017",
    (_coco("zips/val2017.zip", "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05"),),
)
COCO_ANNOTATIONS = Piece(
    "annotations",
    (
        _coco(
            "annotations/annotations_trainval2017.zip",
            "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        ),
    ),
)
BANANA = Piece(
    "banana-detection",
    (
        Archive(
            ("https://d2l-data.s3-accelerate.amazonaws.com/banana-detection.zip",),
            sha1="5de26c8fce5ccdea9f91267273464dc968d20d72",
        ),
    ),
)

DATA_SETS = {
    "voc": DataSet(
        {"2007": VOC_2007, "2012": VOC_2012},
        (),
        {
            ("2007", "2012"): "train.py model=ssd300_vgg16 dataset=voc0712 dataset.root={root}/VOCdevkit",
            ("2007",): "train.py experiment=voc_ssd300 dataset.root={root}/VOCdevkit/VOC2007",
        },
    ),
    "coco": DataSet(
        {"train2017": COCO_TRAIN, "val2017": COCO_VAL},
        (COCO_ANNOTATIONS,),
        {
            ("train2017", "val2017"): "train.py experiment=coco_ssd300 dataset.root={root}",
            ("val2017",): "evaluate.py source=ssd300_vgg16 dataset=coco dataset.root={root}",
        },
    ),
    "banana": DataSet({}, (BANANA,), {(): "train.py dataset=banana dataset.root={root}/banana-detection"}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    dataset = DATA_SETS[options.dataset]
    words = tuple(word for word in dataset.pieces if word in (options.pieces or dataset.pieces))
    with plain_errors():
        for piece in (*(dataset.pieces[word] for word in words), *dataset.always):
            get(piece, options.root, options.remove_archives)
    print(f"{options.dataset} is in {options.root}")
    if words in dataset.commands:
        print(f"next: python references/{dataset.commands[words].format(root=options.root)}")


def get(piece: Piece, root: Path, remove_archives: bool) -> None:
    """Have a piece below the root: fetched, checked and unpacked, or there already."""
    folder = root / piece.folder
    if folder.exists():
        print(f"{folder} is there already")
        return
    files = [fetch_archive(archive, root) for archive in piece.archives]
    print(f"unpacking {', '.join(file.name for file in files)} ...")
    unpack(files, root, piece.folder)
    for file in files:
        if remove_archives:
            file.unlink()
        else:
            print(f"{file} is no longer needed")


def fetch_archive(archive: Archive, root: Path) -> Path:
    """The archive in the root, its hash checked. A download that was cut is gone on with; otherwise another address is
    tried.
    """
    failure: DownloadError | None = None
    for url in (url for url in archive.urls for _ in range(ATTEMPTS)):
        if failure:
            cut = failure.target.with_name(f"{failure.target.name}.partial").exists()
            if url == failure.url and not cut:
                continue
            print(failure, file=sys.stderr)
        try:
            return fetch(url, archive.sha256, sha1=archive.sha1, cache_dir=root, resume=True)
        except DownloadError as error:
            failure = error
    raise failure


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = parser.add_subparsers(dest="dataset", required=True)
    for name, dataset in DATA_SETS.items():
        sub = names.add_parser(name)
        sub.add_argument("--root", type=_folder, required=True, help="the folder to put it into")
        sub.add_argument("--remove-archives", action="store_true", help="delete each archive once it is unpacked")
        option = {"voc": "--years", "coco": "--splits"}.get(name)
        if option:
            sub.add_argument(option, dest="pieces", nargs="+", choices=list(dataset.pieces), help="default: all")
        else:
            sub.set_defaults(pieces=None)
    return parser.parse_args(arguments)


def _folder(text: str) -> Path:
    """Shells leave the ~ of `--root=~/data` as it is."""
    return Path(text).expanduser()


if __name__ == "__main__":
    main()
