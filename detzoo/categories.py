"""Names of classes and the ids that data sets give them. Names are the source of truth; ids and labels are derived."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Categories:
    """Class names in label order, background left out: label k is `names[k - 1]`, and `ids[k - 1]` in the data set's
    files.

    Raises:
        ValueError: if two classes share an id or a name (N/A, a slot that is never used, may repeat).
    """

    names: tuple[str, ...]
    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "ids", tuple(self.ids) or tuple(range(1, len(self.names) + 1)))
        real = [name for name in self.names if name != UNUSED]
        for what, values in (("name", real), ("id", list(self.ids))):
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"category {what}s must be unique, but these repeat: {twice}")
        if len(self.ids) != len(self.names):
            raise ValueError(
                f"{len(self.names)} category names came with {len(self.ids)} ids; expected one id for each name"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        """Outputs of a classifier for these categories: background counts."""
        return len(self.names) + 1

    def name(self, label: int) -> str:
        """The name behind a label in 1..len(self); 0, the background, has none."""
        if not 1 <= label <= len(self):
            raise ValueError(f"label {label} has no name: expected 1..{len(self)}")
        return self.names[label - 1]

    def labels_in(self, other: "Categories") -> list[int]:
        """For each label 0..len(self), the label of the same class in `other`, or 0 where it has none.

        Names are compared as they are, but that VOC's words for six classes are COCO's for the same (`SYNONYMS`).
        """
        theirs = {_usual(name): label for label, name in enumerate(other.names, start=1) if name != UNUSED}
        return [0, *(theirs.get(_usual(name), 0) for name in self.names)]


UNUSED = "N/A"

SYNONYMS = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}  # VOC's word: COCO's


def _usual(name: str) -> str:
    return SYNONYMS.get(name, name)


VOC = Categories((
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
))  # fmt: skip

# COCO numbers its 80 detection classes 1..90 and leaves ten ids out; torchvision's checkpoints keep a slot for each
# hole.
_COCO_SLOTS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", UNUSED, "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", UNUSED, "backpack", "umbrella", UNUSED, UNUSED, "handbag",
    "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove",
    "skateboard", "surfboard", "tennis racket", "bottle", UNUSED, "wine glass", "cup", "fork", "knife",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza",
    "donut", "cake", "chair", "couch", "potted plant", "bed", UNUSED, "dining table", UNUSED, UNUSED, "toilet",
    UNUSED, "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster",
    "sink", "refrigerator", UNUSED, "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)  # fmt: skip

COCO_91 = Categories(_COCO_SLOTS)
COCO = Categories(
    tuple(name for name in _COCO_SLOTS if name != UNUSED),
    tuple(slot for slot, name in enumerate(_COCO_SLOTS, start=1) if name != UNUSED),
)
