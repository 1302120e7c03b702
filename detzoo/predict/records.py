"""What is written of each image: one line of JSON in a shard, from which all other files are made."""

from typing import Any

from .result import Result
from .sources import Item

# {"image": path, "width": W, "height": H, "frame": number and "time": seconds of a video's,
#  "detections": [{"label": name, "score": s, "box": [x1, y1, x2, y2]}]}, or {"image": path, "error": why}
Record = dict[str, Any]


def record_of(item: Item, result: Result, frame: int | None = None, time: float | None = None) -> Record:
    """The line of an image, or of a frame of a video."""
    height, width = result.size
    which = {} if frame is None else {"frame": frame, "time": round(time, 6)}
    return {"image": item.path, "width": width, "height": height, **which, "detections": result.records()}


def error_of(item: Item, error: Exception) -> Record:
    """The line of an image that could not be read."""
    return {"image": item.path, "error": str(error)}
