"""Videos in, videos out: size, rate, times, rotation and colours are kept; frames are told of one by one."""

import csv
import json
import signal
import threading
import time
import wave
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from detzoo.predict import video
from detzoo.predict.pipeline import Pipeline
from detzoo.predict.sources import find
from detzoo.predict.video import Clip, Recording

av = pytest.importorskip("av", reason="PyAV is not installed: pip install detzoo[video]")

pytestmark = pytest.mark.usefixtures("one_thread")

NTSC = Fraction(30000, 1001)


def scene(number, size=(96, 128)):
    """A white square that walks to the right over blue, on a red strip at the top."""
    image = np.full((*size, 3), (30, 60, 200), np.uint8)
    image[:16] = (200, 30, 40)
    image[40:64, 8 * number : 8 * number + 24] = 255
    return image


def make(path, *, count=10, size=(96, 128), rate=NTSC, codec="libx264", rotation=0, colorspace=None, aspect=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(scene(number, size), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=colorspace)))
        container.mux(stream.encode())
    return path


def frames_of(path, most=None):
    with Clip(path) as clip:
        return list(clip.frames(most))


def pixels(frame):
    return frame.image.movedim(0, -1).numpy().astype(int)


def test_frames(tmp_path):
    frames = frames_of(make(tmp_path / "clip.mp4"))
    assert [frame.number for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.time for frame in frames], [k / float(NTSC) for k in range(10)], atol=1e-4)
    for frame in frames:
        assert np.abs(pixels(frame) - scene(frame.number)).mean() < 8
    assert len(frames_of(tmp_path / "clip.mp4", most=3)) == 3


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_camera_that_was_held_otherwise(tmp_path, rotation):
    frame = frames_of(make(tmp_path / "clip.mp4", rotation=rotation))[0]
    assert np.abs(pixels(frame) - np.rot90(scene(0), rotation // 90)).mean() < 8


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_annotated_video(predict, tmp_path, monkeypatch, capsys, codec, rotation):
    clip = make(tmp_path / "clip.mp4", rotation=rotation)
    monkeypatch.setattr(video, "CODECS", (codec,))
    assert predict(clip, "--format", "pictures", "csv", "jsonl", threshold=0.3) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{clip}, 0.000 s: ") and f"{clip}, 0.300 s: " in out
    assert "detzoo: 10 frames, " in err and " frames a second" in err
    with av.open(str(tmp_path / "out" / "clip.mp4_detections.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec_context.name) == (NTSC, {"libx264": "h264"}.get(codec, codec))
        assert not container.streams.audio
    drawn = frames_of(tmp_path / "out" / "clip.mp4_detections.mp4")
    lines = [json.loads(line) for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()]
    assert len(drawn) == len(lines) == 10
    for frame, original, line in zip(drawn, frames_of(clip), lines):
        assert frame.image.shape == original.image.shape and frame.number == original.number == line["frame"]
        assert abs(frame.time - original.time) < 1e-4 and abs(line["time"] - original.time) < 1e-4
        assert (line["height"], line["width"]) == original.image.shape[1:] and line["detections"]
        changed = np.abs(pixels(frame) - pixels(original)).max(axis=-1) > 60
        assert changed.mean() > 0.02, "boxes are drawn"
    with (tmp_path / "out" / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["frame"], row["time"]) for row in rows} == {(str(line["frame"]), str(line["time"])) for line in lines}
    assert len(rows) == sum(len(line["detections"]) for line in lines)


@pytest.mark.parametrize(("rotation", "wanted"), [(0, (16, 11)), (90, (11, 16)), (180, (16, 11)), (-90, (11, 16))])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pixels_that_are_no_squares(predict, tmp_path, monkeypatch, codec, rotation, wanted):
    """They have the shape that they had, as the picture is held now."""
    clip = make(tmp_path / "clip.mp4", count=2, aspect=Fraction(16, 11), rotation=rotation)
    monkeypatch.setattr(video, "CODECS", (codec,))
    assert predict(clip, "--quiet", threshold=1) == 0
    with av.open(str(tmp_path / "out" / "clip.mp4_detections.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(*wanted)


@pytest.mark.parametrize("how", ["closed", "broken off"])
def test_a_video_is_closed_when_nothing_reads_in_it(detector, tmp_path, monkeypatch, how):
    """FFmpeg reads what was freed, where a file is closed under a thread."""
    make(tmp_path / "clip.mp4", count=40)
    inside, closed = threading.Event(), []
    decoded, left = Clip.frames, Clip.__exit__

    def slowly(self, most=None):
        for frame in decoded(self, most):
            inside.set()
            time.sleep(0.05)
            inside.clear()
            yield frame

    def note(self, *error):
        closed.append(inside.is_set())
        left(self, *error)

    monkeypatch.setattr(Clip, "frames", slowly)
    monkeypatch.setattr(Clip, "__exit__", note)
    if how == "closed":
        records = Pipeline(detector, pictures=tmp_path / "out")(find([str(tmp_path / "clip.mp4")]))
        next(records)
        assert inside.wait(5)
        records.close()
    else:
        monkeypatch.setattr(detector, "detect", lambda images: inside.wait(5) and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(Pipeline(detector)(find([str(tmp_path / "clip.mp4")])))
    assert closed == [False]


@pytest.mark.parametrize(("most", "told"), [(None, 10), (4, 4), (99, 10)])
def test_how_many_frames_there_will_be(detector, tmp_path, most, told):
    stated = []
    pipeline = Pipeline(detector, frames=most, opened=stated.append)
    assert len(list(pipeline(find([str(make(tmp_path / "clip.mp4"))])))) == told and stated == [told]


@pytest.mark.parametrize("colorspace", [None, 1, 5])
def test_nothing_but_boxes_changes(predict, tmp_path, colorspace):
    """The colours stay, whichever matrix the video was made with."""
    clip = make(tmp_path / "clip.mp4", colorspace=colorspace)
    assert predict(clip, "--quiet", threshold=1) == 0
    for frame, original in zip(frames_of(tmp_path / "out" / "clip.mp4_detections.mp4"), frames_of(clip), strict=True):
        assert np.abs(pixels(frame) - pixels(original)).mean() < 3


def test_odd_sizes_and_another_container(predict, tmp_path):
    clip = make(tmp_path / "clip.avi", size=(97, 129), codec="mpeg4", rate=Fraction(25))
    assert predict(clip, "--quiet", threshold=1) == 0
    drawn, originals = frames_of(tmp_path / "out" / "clip.avi_detections.mp4"), frames_of(clip)
    assert drawn[0].image.shape == (3, 98, 130), "H.264 wants even numbers"
    assert np.abs(pixels(drawn[5])[:97, :129] - pixels(originals[5])).mean() < 3


def test_frames_that_do_not_come_at_one_rate(tmp_path):
    """Times are kept, not only the rate."""
    times = [0.0, 0.04, 0.2, 0.21, 1.0]
    make(tmp_path / "clip.mp4", rate=Fraction(25))
    with Clip(tmp_path / "clip.mp4") as clip, Recording(tmp_path / "new.mp4", clip) as recording:
        for number, time in enumerate(times):
            recording.write(scene(number), time)
    np.testing.assert_allclose([frame.time for frame in frames_of(tmp_path / "new.mp4")], times, atol=1e-4)


def test_a_limited_number_of_frames(predict, tmp_path):
    assert predict(make(tmp_path / "clip.mp4"), "--frames", 4, "--format", "pictures", "jsonl") == 0
    assert len(frames_of(tmp_path / "out" / "clip.mp4_detections.mp4")) == 4
    assert len((tmp_path / "out" / "detections.jsonl").read_text().splitlines()) == 4


def test_videos_and_images_keep_their_order(predict, tmp_path):
    for name in ("a.png", "c.png"):
        Image.fromarray(scene(0)).save(tmp_path / name)
    make(tmp_path / "b.mp4", count=3)
    assert predict(*(tmp_path / name for name in ("a.png", "b.mp4", "c.png")), "--format", "coco", "jsonl") == 0
    images = json.loads((tmp_path / "out" / "coco_images.json").read_text())["images"]
    names = ["a.png", "b.mp4#0", "b.mp4#1", "b.mp4#2", "c.png"]
    assert [image["file_name"] for image in images] == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_file_that_is_no_video(predict, tmp_path, capsys, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    assert predict(tmp_path / "clip.mp4", "--format", "pictures", "jsonl") == 1
    assert f"{tmp_path / 'clip.mp4'} cannot be read as a video: " in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.jsonl"]


def test_a_video_that_breaks_off(detector, tmp_path, monkeypatch):
    """What came before is told of, and then what happened."""
    make(tmp_path / "clip.mp4")
    decoded = Clip.frames

    def breaking(self, most=None):
        yield from decoded(self, 3)
        raise ValueError("clip.mp4 cannot be read as a video: frame 3: damaged")

    monkeypatch.setattr(Clip, "frames", breaking)
    *frames, error = Pipeline(detector)(find([str(tmp_path / "clip.mp4")]))
    assert [frame["frame"] for frame in frames] == [0, 1, 2] and "frame 3: damaged" in error["error"]


def test_a_video_that_ends_too_soon(tmp_path):
    """AVI's frames come to an end without a word; its head says how many there were."""
    whole = make(tmp_path / "whole.avi", codec="mpeg4", count=20).read_bytes()
    assert len(frames_of(tmp_path / "whole.avi")) == 20
    (tmp_path / "cut.avi").write_bytes(whole[: (whole.find(b"movi") + whole.find(b"idx1")) // 2])
    with pytest.raises(ValueError, match=r"cut.avi cannot .* it ends after 0.\d+ of 0.67 seconds, \d+ frames"):
        frames_of(tmp_path / "cut.avi")
    assert len(frames_of(tmp_path / "cut.avi", most=1)) == 1


def test_a_video_of_which_less_is_to_be_shown(tmp_path):
    """An edit list, as trimming without a new encoding leaves it: the file holds more frames than it shows."""
    with av.open(str(make(tmp_path / "whole.mp4", count=20))) as whole, av.open(str(tmp_path / "cut.mp4"), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                early = round(15 / NTSC / packet.time_base)
                packet.dts, packet.pts, packet.stream = packet.dts - early, packet.pts - early, stream
                cut.mux(packet)
    with Clip(tmp_path / "cut.mp4") as clip:
        shown = list(clip.frames())
    assert clip.frames_stated == 20 and 0 < len(shown) <= 6


def test_sound_alone_is_no_video(tmp_path):
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", "none"))
        sound.writeframes(bytes(1600))
    with pytest.raises(ValueError, match="there is no picture in it"):
        Clip(tmp_path / "sound.mp4")


def test_without_pyav(predict, tmp_path, monkeypatch, capsys):
    make(tmp_path / "clip.mp4")
    monkeypatch.setitem(video.sys.modules, "av", None)
    assert predict(tmp_path / "clip.mp4") == 1
    assert "pip install 'detzoo[video]'" in capsys.readouterr().err


@pytest.fixture
def camera(tmp_path, monkeypatch):
    """A video behind /dev/video7."""
    clip, opened = make(tmp_path / "clip.mp4", count=40), av.open

    def open_any(file, mode="r", **options):
        if file == "/dev/video7":
            assert options == {"format": "v4l2"}
            return opened(str(clip))
        return opened(file, mode, **options)

    monkeypatch.setattr(video.sys, "platform", "linux")
    monkeypatch.setattr(av, "open", open_any)
    return clip


def test_camera(predict, camera, tmp_path):
    assert predict("camera:7", "--frames", 5, "--quiet") == 0
    assert len(frames_of(tmp_path / "out" / "camera-7_detections.mp4")) == 5


def test_camera_until_somebody_stops_it(detector, camera, tmp_path):
    """Ctrl-C ends the recording, and what there is of it is whole; afterwards it does what it did."""
    before = signal.getsignal(signal.SIGINT)
    records = Pipeline(detector, pictures=tmp_path / "out")(find(["camera:7"]))
    for _ in range(3):
        next(records)
    signal.raise_signal(signal.SIGINT)
    count = 3 + len(list(records))
    assert 3 < count < 40 and len(frames_of(tmp_path / "out" / "camera-7_detections.mp4")) == count
    assert signal.getsignal(signal.SIGINT) is before


def test_camera_that_is_not_there(predict, capsys):
    assert predict("camera:99") == 1
    assert "camera:99 cannot be read as a video: " in capsys.readouterr().err


def test_cameras_elsewhere(predict, monkeypatch, capsys):
    monkeypatch.setattr(video.sys, "platform", "win32")
    assert predict("camera:0") == 1
    assert "Video4Linux, which is not on this system" in capsys.readouterr().err


def test_a_video_from_an_address(detector, tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    make(tmp_path / "clip.mp4", count=3)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/clip.mp4"
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 100)
    records = list(Pipeline(detector)(find([address])))
    (broken,) = Pipeline(detector)(find([address.replace("clip", "broken")]))
    server.shutdown()
    thread.join()
    server.server_close()
    assert [(record["image"], record["frame"]) for record in records] == [(address, k) for k in range(3)]
    assert broken["error"].startswith(f"{broken['image']} cannot be read as a video: Invalid data")
    assert "detzoo-" not in broken["error"], "the name of the copy"
