"""Where images come from: in which order, by which names, and how many names are in memory."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest

from detzoo.hub import copy_url
from detzoo.predict import find, sources
from detzoo.predict.pipeline import Pipeline
from detzoo.predict.sources import Item, check_sources, images_of, single_files, walk

NAMES = ["a.png", "b.JPG", "in/c.png", "in/deep/d.jpg", "z.bmp"]


def test_folder(photos):
    items = list(find([str(photos)]))
    assert [item.name for item in items] == NAMES and {item.kind for item in items} == {"image"}
    assert [item.path for item in items] == [str(photos / name) for name in NAMES]


def test_order_does_not_depend_on_how_many_names_fit_into_memory(tmp_path, monkeypatch):
    names = [f"{number:03d}.jpg" for number in range(50)]
    for name in reversed(names):
        (tmp_path / name).touch()
    (tmp_path / "025").mkdir()
    (tmp_path / "025" / "x.jpg").touch()
    whole = list(walk(str(tmp_path)))
    assert [os.path.basename(path) for path in whole] == sorted([*names[:25], "x.jpg", *names[25:]], key=whole_key)
    for number in (1, 7, 50, 51):
        monkeypatch.setattr(sources, "NAMES_AT_ONCE", number)
        assert list(walk(str(tmp_path))) == whole


def whole_key(name):
    return "025" if name == "x.jpg" else name


def test_a_folder_is_searched_while_its_images_are_used(tmp_path, monkeypatch):
    for number in range(30):
        (tmp_path / f"{number:02d}.jpg").touch()
    monkeypatch.setattr(sources, "NAMES_AT_ONCE", 5)
    scanned, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: (scanned.append(folder), scandir(folder))[1])
    found = find([str(tmp_path)])
    for _ in range(7):
        next(found)
    assert len(scanned) == 2


def test_several_sources_have_names_from_their_common_folder(photos):
    given = [str(photos / "in"), str(photos / "a.png")]
    assert [item.name for item in find(given)] == ["in/c.png", "in/deep/d.jpg", "a.png"]
    assert [item.name for item in find([str(photos / "in" / "c.png")])] == ["c.png"]


def test_patterns(photos):
    assert [item.name for item in find([str(photos / "*.png")])] == ["a.png"]
    assert [item.name for item in find([str(photos / "**" / "*.[pj]*g")])] == ["a.png", "in/c.png", "in/deep/d.jpg"]
    assert [item.name for item in find([str(photos / "i?")])] == ["in/c.png", "in/deep/d.jpg"], "a folder that fits"


def test_patterns_leave_out_what_is_written(photos):
    def names(pattern, folder):
        return [item.name for item in find([str(photos / pattern)], leave_out=photos / folder)]

    assert names("**/*.[pj]*g", "in") == ["a.png"]
    assert names("**/*.[pj]*g", "in/deep") == ["a.png", "in/c.png"]
    assert names("i?", "in") == [] and names("i?", "in/deep") == ["in/c.png"]
    (photos / "in_2").mkdir()
    (photos / "in_2" / "x.png").touch()
    assert names("**/*.png", "in") == ["a.png", "in_2/x.png"], "it is only called alike"
    assert names("in/*.png", "in") == ["c.png"] and names("in/*.png", ".") == ["c.png"], "it is searched alone"


def test_the_folder_that_is_written_may_be_named_by_a_link(photos, tmp_path):
    (tmp_path / "link").symlink_to(photos)
    hidden = tmp_path / "link" / "in"
    assert [item.name for item in find([str(photos)], leave_out=hidden)] == ["a.png", "b.JPG", "z.bmp"]
    assert [item.name for item in find([str(photos / "**" / "*.png")], leave_out=hidden)] == ["a.png"]
    found = find([str(tmp_path / "link")], leave_out=photos / "in")
    assert [item.name for item in found] == ["a.png", "b.JPG", "z.bmp"]


def test_what_comes_again_is_left_out(photos, monkeypatch):
    monkeypatch.chdir(photos)
    given = ["a.png", str(photos / "a.png"), "in", "in/../z.bmp", ".", "i?", "http://host/x.jpg", "http://host/x.jpg"]
    paths = [os.path.relpath(item.path) for item in find(given) if item.name != "host/x.jpg"]
    assert paths == ["a.png", "in/c.png", "in/deep/d.jpg", "z.bmp", "b.JPG"]
    assert [item.name for item in find(["-"], lines=["a.png", "z.bmp", "./a.png"])] == ["a.png", "z.bmp"]
    assert sum(item.name == "host/x.jpg" for item in find(given)) == 1
    assert single_files(["a.png", "./a.png", "http://host/x.jpg"]) == 2


def test_a_file_that_is_called_like_a_pattern(photos):
    (photos / "a.png").rename(photos / "[1].png")
    assert [item.name for item in find([str(photos / "[1].png")])] == ["[1].png"]


def test_a_list(photos, monkeypatch):
    monkeypatch.chdir(photos)
    lines = ["a.png\n", "\n", f"{photos}/in/../z.bmp\r\n", "/elsewhere/x.jpg\n", "clip.MP4\n"]
    items = list(find(["-"], lines=lines))
    assert items == [
        Item("a.png", "a.png", "image"),
        Item(f"{photos}/in/../z.bmp", "z.bmp", "image"),
        Item("/elsewhere/x.jpg", "elsewhere/x.jpg", "image"),
        Item("clip.MP4", "clip.MP4", "video"),
    ]


@pytest.mark.parametrize(
    ("address", "name", "kind"),
    [
        ("http://host.org/a/b.jpg", "host.org/a/b.jpg", "image"),
        ("https://user:word@host:8000/../b.mp4", "host_8000/b.mp4", "video"),
        ("http://host/%2e%2e/%2Fetc/x.jpg", "host/etc/x.jpg", "image"),
        ("http://host/", "host/index", "image"),
    ],
)
def test_addresses_have_names_below_the_output(address, name, kind):
    assert list(find([address])) == [Item(address, name, kind)]


def test_addresses_that_differ_in_their_query():
    one, other = find(["http://host/x.jpg?id=1", "http://host/x.jpg?id=2"])
    assert one.name != other.name and one.name.endswith("/x.jpg")


def test_camera():
    assert list(find(["camera:3"])) == [Item("camera:3", "camera-3", "camera")]


def test_links_to_folders_are_not_followed(photos):
    (photos / "in" / "round").symlink_to(photos)
    (photos / "link.png").symlink_to(photos / "a.png")
    assert [item.name for item in find([str(photos)])] == [*NAMES[:4], "link.png", "z.bmp"]


def test_sources_that_are_not_there(photos):
    with pytest.raises(ValueError, match=r"one: no.jpg, .*\*.gif$"):
        check_sources([str(photos), "no.jpg", str(photos / "*.gif"), "-", "http://host/x", "camera:0"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_waited_for(tmp_path):
    (tmp_path / "there.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for source in (tmp_path, tmp_path / "*.jpg"):
        assert [item.name for item in find([str(source)])] == ["loop.jpg", "nowhere.jpg", "there.jpg"]


def test_images_of_sources(photos):
    everything = images_of([str(photos)])
    assert len(everything) > 2 and images_of([str(photos)], 2) == everything[:2]
    (photos / "none").mkdir()
    with pytest.raises(ValueError, match="there is no image in .*none"):
        images_of([str(photos / "none")])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may search everything")
def test_folder_that_may_not_be_searched(photos):
    (photos / "in").chmod(0)
    assert str(photos / "in") in [item.path for item in find([str(photos)])], "to be reported when it is read"
    (photos / "in").chmod(0o700)


def test_folder_that_goes_away(photos, monkeypatch):
    scandir = os.scandir

    def gone(folder):
        if str(folder).endswith("in"):
            raise PermissionError(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", gone)
    assert [item.name for item in find([str(photos)])] == ["a.png", "b.JPG", "in", "z.bmp"]


def test_how_many(photos):
    assert single_files([str(photos / "a.png"), "http://host/x.jpg"]) == 2
    assert single_files([str(photos)]) is None and single_files(["-"]) is None


# ---- from the network ----


@pytest.fixture
def server(photos, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(photos))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_from_an_address(detector, server, photos):
    there, missing = Pipeline(detector)(find([f"{server}/a.png", f"{server}/b.png"]))
    (here,) = Pipeline(detector)(find([str(photos / "a.png")]))
    assert there == {**here, "image": f"{server}/a.png"} and here["detections"]
    assert missing == {
        "image": f"{server}/b.png",
        "error": f"cannot get {server}/b.png: HTTP Error 404: File not found",
    }


def test_more_than_is_taken_from_an_address(detector, server, monkeypatch):
    monkeypatch.setattr("detzoo.predict.pipeline.IMAGE_BYTES", 1000)
    (record,) = Pipeline(detector)(find([f"{server}/a.png"]))
    assert record["error"] == f"cannot get {server}/a.png: it has more than 1,000 bytes"


def test_a_connection_that_is_cut(photos, server, monkeypatch):
    monkeypatch.setattr(SimpleHTTPRequestHandler, "copyfile", lambda self, source, output: output.write(b"some"))
    with pytest.raises(ValueError, match=rf"cannot get {server}/a.png: .*the connection was cut after 4 of \d+ bytes"):
        copy_url(f"{server}/a.png", BytesIO(), limit=1 << 20)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x.jpg", "x.jpg"])
def test_addresses_of_other_kinds(address):
    with pytest.raises(ValueError):
        copy_url(address, BytesIO(), limit=100)
