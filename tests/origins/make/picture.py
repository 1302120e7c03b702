"""Makes `picture.jpg`: shapes on a ground, and noise that tells one way of resizing from another."""

from pathlib import Path

import numpy as np
from PIL import Image

from detzoo.data import DATASETS
from detzoo.lookup import build_part

HERE = Path(__file__).parent


def main() -> None:
    scene = build_part(DATASETS, {"name": "synthetic", "num_images": 1, "size": [311, 413], "seed": 5}, "dataset")
    pixels = np.asarray(scene.open_image(0)).astype(np.int16)
    noise = np.random.RandomState(1).randint(-20, 21, pixels.shape)
    picture = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    picture.save(HERE.parent / "picture.jpg", quality=80, subsampling=0)


if __name__ == "__main__":
    main()
