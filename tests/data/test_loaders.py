"""Batches: the same for any number of workers and processes, other ones every epoch, and errors that name the image."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from detzoo import distributed
from detzoo.data import Augmentation, SyntheticDataset, evaluation_loader, loaders, training_loader
from detzoo.data.loaders import EpochBatches
from detzoo.models import MODELS, build_ssd

TRANSFORMS = Path(__file__).parents[2] / "configs" / "transforms"
SIZE = (64, 48)  # height, width
CROPS = Augmentation(flip=0.5, zoom_out=0.5, iou_crop=True, photometric=True)


@pytest.fixture(scope="module")
def shapes():
    return SyntheticDataset(10, size=(64, 80))


@pytest.fixture
def pretend(monkeypatch):
    """Play the part of one of several processes."""

    def pretend(rank, world_size):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)

    return pretend


def epoch_of(loader, epoch, first=0):
    loader.begin(epoch, first)
    return list(loader)


def assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others):
        assert batch.indices.tolist() == other.indices.tolist() and torch.equal(batch.images, other.images)
        assert all(map(torch.equal, batch.targets, other.targets))


def test_shapes_and_layout(shapes):
    batches = epoch_of(training_loader(shapes, SIZE, CROPS, batch_size=4), 1)
    assert [batch.images.shape for batch in batches] == [(4, 3, *SIZE)] * 2, "the incomplete last batch is left out"
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        boxes, labels, mask = batch.targets
        assert boxes.shape == (*mask.shape, 4) and labels.shape == mask.shape and len(mask) == 4
        assert boxes.dtype == torch.float32 and labels.dtype == torch.int64 and mask.dtype == torch.bool
        assert (boxes[mask] >= 0).all() and (boxes[mask] <= torch.tensor([48, 64, 48, 64])).all()
        assert (boxes[mask][:, 2:] > boxes[mask][:, :2]).all()
        assert labels[mask].min() >= 1 and mask.any(dim=1).all()


def test_same_batches_for_any_number_of_workers(shapes):
    alone, helped = (training_loader(shapes, SIZE, CROPS, batch_size=4, seed=7, workers=workers) for workers in (0, 2))
    for epoch in (1, 2):  # workers are kept between epochs and must hear of the next one
        assert_equal(epoch_of(alone, epoch), epoch_of(helped, epoch))


def test_epochs_differ_in_order_and_crops_and_can_be_had_again(shapes):
    loader = training_loader(shapes, SIZE, CROPS, batch_size=10, seed=7)
    (first,), (second,), (again,) = (epoch_of(loader, epoch) for epoch in (1, 2, 1))
    assert_equal([first], [again])
    assert first.indices.tolist() != second.indices.tolist()
    assert first.indices.sort().values.tolist() == second.indices.sort().values.tolist() == list(range(10))
    same_image = second.images[second.indices.argsort()][first.indices]
    assert (same_image != first.images).flatten(1).any(dim=1).sum() >= 9


def test_seeds_differ(shapes):
    loaders = [training_loader(shapes, SIZE, CROPS, batch_size=10, seed=seed) for seed in (0, 1)]
    (first,), (second,) = (epoch_of(loader, 1) for loader in loaders)
    assert first.indices.tolist() != second.indices.tolist()
    assert (first.images[first.indices.argsort()] != second.images[second.indices.argsort()]).any()


def test_processes_share_the_batches_of_one(shapes, pretend):
    whole = epoch_of(training_loader(shapes, SIZE, CROPS, batch_size=4, seed=7), 3)
    parts = []
    for rank in (0, 1):
        pretend(rank, 2)
        parts.append(epoch_of(training_loader(shapes, SIZE, CROPS, batch_size=4, seed=7), 3))
    assert len(whole) == len(parts[0]) == len(parts[1]) == 2
    for batch, *shares in zip(whole, *parts):
        assert [len(share.indices) for share in shares] == [2, 2]
        for rank, share in enumerate(shares):
            assert share.indices.tolist() == batch.indices[rank::2].tolist()
            torch.testing.assert_close(share.images, batch.images[rank::2])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_be_begun_at_any_batch(shapes, workers):
    loader = training_loader(shapes, SIZE, replace(CROPS, scales=(1.0, 1.5)), batch_size=2, seed=7, workers=workers)
    whole = epoch_of(loader, 3)
    for first in (1, 4, 5):
        assert_equal(epoch_of(loader, 3, first), whole[first:])
        assert len(loader) == len(whole) == 5, "the length of an epoch is that of a whole one"
    assert_equal(epoch_of(loader, 3), whole)


def test_batches_of_several_sizes(shapes, pretend):
    scales = replace(CROPS, scales=(0.5, 1.0, 1.6))

    def epoch():
        return epoch_of(training_loader(shapes, SIZE, scales, batch_size=2, seed=7), 1)

    whole, parts = epoch(), []
    for rank in (0, 1):
        pretend(rank, 2)
        parts.append(epoch())
    sizes = [tuple(batch.images.shape[-2:]) for batch in whole]
    assert len(set(sizes)) >= 2 and set(sizes) <= {(32, 32), SIZE, (128, 96)}
    for share in parts:
        assert [tuple(batch.images.shape[-2:]) for batch in share] == sizes, "one size a batch in all processes"
    for batch, (height, width) in zip(whole, sizes):
        boxes = batch.targets.boxes[batch.targets.mask]
        assert (boxes <= torch.tensor([width, height, width, height])).all()


def test_sizes_of_batches_are_drawn_anew_each_epoch_and_all_of_them():
    batches, drawn = EpochBatches(400, 2, [(1, 1), (2, 2), (3, 3)], seed=0), []
    for batches.epoch in (1, 2):
        drawn.append([{key.size for key in batch} for batch in batches])
    assert all(len(sizes) == 1 for sizes in drawn[0]) and drawn[0] != drawn[1]
    for size in batches.sizes:
        assert 40 < drawn[0].count({size}) < 95, "each of the three as often as the others"


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_the_sizes_of_the_multiscale_preset(name):
    preset = yaml.safe_load((TRANSFORMS / "multiscale.yaml").read_text())
    with torch.device("meta"):
        model = build_ssd(MODELS[name].config).eval()
        for size in Augmentation(scales=preset["scales"]).sizes(model.preprocess.size):
            assert model.backbone(torch.zeros(1, 3, *size))[-1].numel()


def test_a_model_takes_the_size_of_the_batch(shapes, small_config):
    model = build_ssd(small_config, categories=shapes.categories).train()
    loader = training_loader(shapes, (96, 96), replace(CROPS, scales=(1.3,)), batch_size=2)
    batch = epoch_of(loader, 1)[0]
    assert batch.images.shape[-2:] == (128, 128)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    assert all(loss.isfinite() for loss in model(batch.images, batch.targets).values())
    assert seen == [(128, 128)]


def test_loaders_tell_their_data_set(shapes):
    assert training_loader(shapes, SIZE, CROPS, batch_size=4).source is shapes
    assert evaluation_loader(shapes).source is shapes


def test_limit_is_the_beginning_of_an_epoch():
    few, all_of_them = EpochBatches(23, 4, [SIZE], seed=0, limit=2), EpochBatches(23, 4, [SIZE], seed=0)
    assert (len(few), len(all_of_them), len(EpochBatches(23, 4, [SIZE], seed=0, limit=99))) == (2, 5, 5)
    assert list(few) == list(all_of_them)[:2]


@pytest.mark.parametrize(("batch_size", "world_size"), [(5, 2), (0, 1), (2, 4)])
def test_batch_that_cannot_be_shared(pretend, batch_size, world_size):
    pretend(0, world_size)
    with pytest.raises(ValueError, match=rf"batch_size = {batch_size} .* shared evenly by {world_size} processes"):
        EpochBatches(100, batch_size, [SIZE], seed=0)


def test_fewer_images_than_a_batch(shapes):
    with pytest.raises(ValueError, match="10 images, fewer than loader.batch_size = 11: lower the batch size"):
        training_loader(shapes, SIZE, CROPS, batch_size=11)


def test_crowd_regions_are_no_targets(picture_set, objects):
    boxes = [[0, 0, 30, 30], [10, 10, 40, 40], [20, 0, 50, 20]]
    crowds = objects(1, (64, 64), boxes, [1, 2, 1], crowd=[False, True, False])
    dataset = picture_set([Image.new("RGB", (64, 64))], [crowds])
    (batch,) = epoch_of(training_loader(dataset, (64, 64), Augmentation(flip=0.0), batch_size=1), 1)
    assert batch.targets.boxes[0].tolist() == [boxes[0], boxes[2]] and batch.targets.labels[0].tolist() == [1, 1]


def test_batch_without_objects(picture_set, objects):
    dataset = picture_set([Image.new("RGB", (64, 64))] * 2, [objects(k, (64, 64), [], []) for k in (1, 2)])
    (batch,) = epoch_of(training_loader(dataset, SIZE, CROPS, batch_size=2), 1)
    assert batch.targets.mask.tolist() == [[False], [False]]


# ---- images that are not what they should be ----


def both_loaders(dataset):
    return training_loader(dataset, SIZE, CROPS, batch_size=2), evaluation_loader(dataset)


def test_image_of_another_size_than_annotated(picture_set, objects):
    images = [Image.new("RGB", (64, 48)), Image.new("RGB", (64, 40))]
    dataset = picture_set(images, [objects(k, (48, 64), [], []) for k in (1, 2)])
    for loader in both_loaders(dataset):
        with pytest.raises(ValueError, match=r"picture 1 is 40x64 pixels .* annotated as 48x64"):
            list(loader)


def broken_files(folder):
    """No image, half a JPEG, half a PNG, and none at all."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    (folder / "text.jpg").write_text("not an image")
    for name in ("half.jpg", "half.png"):
        whole = io.BytesIO()
        noise.save(whole, "JPEG" if name.endswith("jpg") else "PNG")
        (folder / name).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    return [folder / name for name in ("text.jpg", "half.jpg", "half.png", "missing.jpg")]


@pytest.mark.parametrize("which", range(4))
def test_image_that_cannot_be_read(picture_set, objects, tmp_path, which):
    images = [Image.new("RGB", (64, 48)), broken_files(tmp_path)[which]]
    dataset = picture_set(images, [objects(k, (48, 64), [], []) for k in (1, 2)])
    for loader in both_loaders(dataset):
        with pytest.raises(ValueError, match="picture 1 cannot be read as an image: "):
            list(loader)


def test_mistakes_of_our_own_are_not_put_down_to_the_file(picture_set, objects, monkeypatch):
    def fail(*_, **__):
        raise ValueError("a mistake of ours")

    dataset = picture_set([Image.new("RGB", (64, 48))] * 2, [objects(k, (48, 64), [], []) for k in (1, 2)])
    training, evaluation = both_loaders(dataset)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="^a mistake of ours"):
        patch.setattr(Image.Image, "resize", fail)
        epoch_of(training, 1)
    monkeypatch.setattr(loaders, "np", SimpleNamespace(array=fail))
    with pytest.raises(ValueError, match="^a mistake of ours"):
        list(evaluation)


# ---- evaluation ----


def test_evaluation_gives_whole_images_in_order(picture_set, objects):
    sizes = [(48, 64), (30, 20), (10, 90)]
    images = [Image.new("RGB", (width, height), (k, 2, 3)) for k, (height, width) in enumerate(sizes)]
    images[1] = images[1].convert("L").convert("P")
    dataset = picture_set(images, [objects(k, size, [], []) for k, size in enumerate(sizes)])
    (first, _, indices), (second, _, rest) = evaluation_loader(dataset, batch_size=2)
    assert indices == [0, 1] and rest == [2]
    assert [tuple(image.shape) for image in first + second] == [(3, *size) for size in sizes]
    assert all(image.dtype == torch.uint8 for image in first + second)
    assert second[0][:, 0, 0].tolist() == [2, 2, 3]


@pytest.mark.parametrize("limit", [None, 7, 1000])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_evaluate_each_image_once(shapes, pretend, world_size, limit):
    seen = []
    for rank in range(world_size):
        pretend(rank, world_size)
        seen += [index for _, _, indices in evaluation_loader(shapes, batch_size=2, limit=limit) for index in indices]
    assert sorted(seen) == list(range(min(limit or 10, 10)))


def test_evaluation_is_the_same_with_workers(shapes):
    alone, helped = (list(evaluation_loader(shapes, batch_size=4, workers=workers)) for workers in (0, 2))
    assert [indices for _, _, indices in alone] == [indices for _, _, indices in helped]
    for (images, _, _), (others, _, _) in zip(alone, helped):
        assert all(map(torch.equal, images, others))


def test_evaluation_tells_what_is_to_be_found(picture_set, objects):
    boxes = [[0, 0, 30.5, 30], [10, 10, 40, 40], [20, 0, 50, 20]]
    images = [Image.new("RGB", (64, 48))] * 2
    crowds = objects(1, (48, 64), boxes, [1, 2, 1], crowd=[False, True, False])
    dataset = picture_set(images, [crowds, objects(2, (48, 64), [], [])])
    ((_, (found, nothing), _),) = evaluation_loader(dataset)
    assert found["boxes"].tolist() == [boxes[0], boxes[2]] and found["labels"].tolist() == [1, 1]
    assert found["boxes"].dtype == torch.float32 and found["labels"].dtype == torch.int64
    assert nothing["boxes"].shape == (0, 4) and nothing["labels"].shape == (0,)
