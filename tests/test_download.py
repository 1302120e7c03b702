"""Archives from a server on this machine: cut, wrong or hostile, and unpacked as a whole or not at all."""

import hashlib
import importlib.util
import io
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detzoo.files import UNPACKED_RATIO, unpack
from detzoo.hub import DownloadError, fetch

SCRIPT = Path(__file__).parents[1] / "references" / "download.py"

CONTENT = bytes(range(256)) * 5000  # more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Files by name. `cut` bytes at most are sent of each answer, and ranges are known if `ranges` says so."""

    def do_GET(self):
        asked, server = self.headers.get("Range"), self.server
        server.requests.append((self.path, asked))
        content = server.files.get(self.path.rpartition("/")[2])
        if content is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if asked and server.ranges else 200)
        if asked and server.ranges:
            self.send_header("Content-Range", f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.files, server.requests, server.ranges, server.cut, server.shift = {"a.bin": CONTENT}, [], True, None, 0
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


# ---- downloads that are cut ----


def fetch_a(server, folder, sha256=SHA256):
    return fetch(f"{server.url}/a.bin", sha256, cache_dir=folder, resume=True)


def cut_after(server, folder, count):
    """A first attempt that leaves `count` bytes."""
    server.cut = count
    with pytest.raises(DownloadError, match=f"cut after {count} of {len(CONTENT)} bytes.*goes on with it"):
        fetch_a(server, folder)
    server.cut = None
    assert (folder / "a.bin.partial").read_bytes() == CONTENT[:count] and not (folder / "a.bin").exists()


def test_a_cut_download_goes_on(server, tmp_path):
    cut_after(server, tmp_path, 700_001)
    assert fetch_a(server, tmp_path).read_bytes() == CONTENT
    assert server.requests == [("/a.bin", None), ("/a.bin", "bytes=700001-")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges = False
    cut_after(server, tmp_path, 700_001)
    assert fetch_a(server, tmp_path).read_bytes() == CONTENT


def test_cut_after_the_last_byte(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(CONTENT)
    assert fetch_a(server, tmp_path).read_bytes() == CONTENT and server.requests == []


def test_a_wrong_hash_leaves_nothing_to_go_on_with(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(b"of another file")
    with pytest.raises(DownloadError, match=f"has the sha256 [0-9a-f]+ and not {SHA256}"):
        fetch_a(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch_a(server, tmp_path).read_bytes() == CONTENT


def test_more_than_the_file_has(server, tmp_path):
    (tmp_path / "a.bin.partial").write_bytes(CONTENT + b"more")
    with pytest.raises(DownloadError, match="more than the file has; that is deleted now"):
        fetch_a(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_part_than_was_asked_for(server, tmp_path):
    cut_after(server, tmp_path, 1000)
    server.shift = 5
    with pytest.raises(DownloadError, match="sent another part of the file"):
        fetch_a(server, tmp_path)
    assert (tmp_path / "a.bin.partial").read_bytes() == CONTENT[:1000]


def test_nothing_came_nothing_stays(server, tmp_path):
    with pytest.raises(DownloadError, match="404 Not Found"):
        fetch(f"{server.url}/b.bin", SHA256, cache_dir=tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(server, tmp_path):
    import fcntl

    with (tmp_path / "a.bin.partial").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is writing"):
            fetch_a(server, tmp_path)
    assert fetch_a(server, tmp_path).read_bytes() == CONTENT


def test_sha1(server, tmp_path):
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    assert fetch(f"{server.url}/a.bin", sha1=sha1.upper(), cache_dir=tmp_path).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=f"its sha1 is {sha1} and not 0000"):
        fetch(f"{server.url}/a.bin", sha1="0" * 40, cache_dir=tmp_path)
    for wrong in ({"sha1": sha1[:39]}, {"sha1": sha1, "sha256": SHA256}):
        with pytest.raises(ValueError, match="expected 40 hexadecimal digits, and one hash only"):
            fetch(f"{server.url}/a.bin", cache_dir=tmp_path, **wrong)


# ---- archives ----


def make_zip(members: dict[str, bytes | tuple[int, bytes]]) -> bytes:
    """Files by name, or (mode, content)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            mode, data = data if isinstance(data, tuple) else (stat.S_IFREG | 0o644, data)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return content.getvalue()


def make_tar(members: dict[str, bytes | tuple[bytes, str]], mode: str = "w") -> bytes:
    """Files by name, or (type, link name)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname = data
                file.addfile(info)
            else:
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return content.getvalue()


GOOD = {"set/a.txt": b"a" * 10, "set/deep/er/b.txt": b"b", "set/empty.txt": b"", "__MACOSX/set/junk": b"?"}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "content",
    [make_zip(GOOD), make_tar(GOOD), make_tar(GOOD, "w:gz"), make_tar({f"./{k}": v for k, v in GOOD.items()})],
)
def test_unpack(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    unpack([tmp_path / "archive"], tmp_path / "root", "set")
    assert tree(tmp_path / "root") == {name: data for name, data in GOOD.items() if name.startswith("set")}
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["set"]


def test_two_archives_of_one_folder(tmp_path):
    (tmp_path / "1.tar").write_bytes(make_tar({"kit/2007/a": b"1", "kit/2007/both": b"1"}))
    (tmp_path / "2.tar").write_bytes(make_tar({"kit/2007/b": b"2", "kit/2007/both": b"2"}))
    unpack([tmp_path / "1.tar", tmp_path / "2.tar"], tmp_path, "kit/2007")
    assert tree(tmp_path / "kit") == {"2007/a": b"1", "2007/b": b"2", "2007/both": b"2"}


def damaged(archive: bytes) -> bytes:
    return archive[:60] + bytes([archive[60] ^ 1]) + archive[61:]


BOMB = {"set/bomb": bytes(10_000_000)}
HOSTILE = {
    "zip above": (make_zip({**GOOD, "../evil": b"x"}), "'../evil' is no path inside"),
    "zip above, from inside": (make_zip({**GOOD, "set/../../evil": b"x"}), "no path inside"),
    "zip absolute": (make_zip({**GOOD, "/evil": b"x"}), "'/evil' is no path inside"),
    "zip for Windows": (make_zip({**GOOD, "set\\..\\..\\evil": b"x"}), "no path inside"),
    "zip drive": (make_zip({**GOOD, "C:evil": b"x"}), "no path inside"),
    "zip link": (make_zip({**GOOD, "set/link": (stat.S_IFLNK | 0o777, b"/etc")}), "'set/link' is neither a file"),
    "zip bomb": (make_zip(BOMB), f"more than {UNPACKED_RATIO} times its own size"),
    "tar above": (make_tar({**GOOD, "../evil": b"x"}), "'../evil' is no path inside"),
    "tar absolute": (make_tar({**GOOD, "/evil": b"x"}), "'/evil' is no path inside"),
    "tar link": (make_tar({**GOOD, "set/link": (tarfile.SYMTYPE, "/etc")}), "'set/link' is neither a file"),
    "tar hard link": (make_tar({**GOOD, "set/link": (tarfile.LNKTYPE, "../evil")}), "neither a file nor a folder"),
    "tar pipe": (make_tar({**GOOD, "set/pipe": (tarfile.FIFOTYPE, "")}), "neither a file nor a folder"),
    "tar device": (make_tar({**GOOD, "set/null": (tarfile.CHRTYPE, "")}), "neither a file nor a folder"),
    "tar bomb": (make_tar(BOMB, "w:gz"), f"more than {UNPACKED_RATIO} times its own size"),
    "tar cut": (make_tar(GOOD)[:700], "is refused"),
    "zip damaged": (damaged(make_zip({"set/a": bytes(range(256))})), "is refused"),
    "no archive": (b"no archive", "is refused"),
    "no such folder": (make_zip({"other/a": b"a"}), "holds no folder set"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_refused_archive_leaves_nothing(tmp_path, content, message):
    (tmp_path / "up").mkdir()
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        unpack([tmp_path / "archive"], tmp_path / "up" / "root", "set")
    assert str(tmp_path / "archive") in str(error.value)
    assert tree(tmp_path) == {"archive": content} and not list(tmp_path.rglob("*link*"))


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "archive").write_bytes(make_zip(GOOD))
    for name in ("set", ".set.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
        with pytest.raises(FileExistsError, match=f"{name} is there already"):
            unpack([tmp_path / "archive"], tmp_path, "set")
        assert list(tree(tmp_path / name)) == ["mine"]
        (tmp_path / name).rename(tmp_path / f"{name} away")


# ---- the script ----


@pytest.fixture
def script(server, monkeypatch):
    """The script, whose data sets are one of two pieces on this machine."""
    spec = importlib.util.spec_from_file_location("download", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pieces = {}
    for year, names in (("2007", ("trainval.tar", "test.tar")), ("2012", ("all.zip",))):
        archives = []
        for name in names:
            make = make_zip if name.endswith("zip") else make_tar
            server.files[name] = make({f"kit/{year}/{name}.txt": name.encode()})
            urls = (f"{server.url}/gone/{name}x", f"{server.url}/mirror/{name}")
            archives.append(script.Archive(urls, hashlib.sha256(server.files[name]).hexdigest()))
        pieces[year] = script.Piece(f"kit/{year}", tuple(archives))
    commands = {("2007", "2012"): "train.py dataset=both dataset.root={root}/kit"}
    monkeypatch.setitem(script.DATA_SETS, "voc", script.DataSet(pieces, (), commands))
    return script


def test_script(script, server, tmp_path, capsys):
    script.main(["voc", "--root", str(tmp_path)])
    said = capsys.readouterr()
    assert tree(tmp_path / "kit") == {
        "2007/trainval.tar.txt": b"trainval.tar", "2007/test.tar.txt": b"test.tar", "2012/all.zip.txt": b"all.zip",
    }  # fmt: skip
    assert f"python references/train.py dataset=both dataset.root={tmp_path}/kit" in said.out
    assert said.err.count("404") == 3, "the first address of each was tried"
    before, requests = tree(tmp_path), len(server.requests)
    script.main(["voc", "--root", str(tmp_path)])
    assert tree(tmp_path) == before and len(server.requests) == requests
    assert capsys.readouterr().out.count("is there already") == 2


def test_script_expands_the_home(script, server, tmp_path, monkeypatch, capsys):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    script.main(["voc", "--root=~/data", "--remove-archives"])
    assert all(name.startswith("home/data/kit/") for name in tree(tmp_path))
    assert f"dataset.root={tmp_path}/home/data/kit" in capsys.readouterr().out


def test_script_fetches_what_is_wanted(script, server, tmp_path, capsys):
    script.main(["voc", "--root", str(tmp_path), "--years", "2012", "--remove-archives"])
    assert list(tree(tmp_path)) == ["kit/2012/all.zip.txt"]
    assert "python references" not in capsys.readouterr().out, "one year has no command here"
    with pytest.raises(SystemExit):
        script.main(["voc", "--root", str(tmp_path), "--years", "2013"])


def test_script_uses_archives_put_there_by_hand(script, server, tmp_path, monkeypatch):
    archive = script.DATA_SETS["voc"].pieces["2012"].archives[0]
    monkeypatch.setattr(script, "DATA_SETS", {"voc": script.DataSet({"2012": script.Piece("kit/2012", (
        archive._replace(urls=archive.urls[1:]),))}, (), {})})  # fmt: skip
    (tmp_path / "all.zip").write_bytes(server.files["all.zip"])
    script.main(["voc", "--root", str(tmp_path)])
    assert server.requests == [] and (tmp_path / "kit" / "2012").is_dir()


def test_script_goes_on_where_it_was_cut(script, server, tmp_path):
    server.cut = 30
    with pytest.raises(SystemExit) as stopped:
        script.main(["voc", "--root", str(tmp_path), "--years", "2012"])
    assert stopped.value.code == 2
    held = (tmp_path / "all.zip.partial").stat().st_size
    attempts = [asked for path, asked in server.requests if path == "/mirror/all.zip"]
    assert attempts[:3] == [None, "bytes=30-", "bytes=60-"] and len(attempts) == 3 and held == 90
    server.cut = None
    script.main(["voc", "--root", str(tmp_path), "--years", "2012"])
    assert server.requests[-1] == ("/mirror/all.zip", f"bytes={held}-")
    assert (tmp_path / "kit" / "2012").is_dir()


def test_script_refuses_a_wrong_hash(script, server, tmp_path, capsys):
    server.files["all.zip"] = make_zip({"kit/2012/other": b"x"})
    with pytest.raises(SystemExit):
        script.main(["voc", "--root", str(tmp_path), "--years", "2012"])
    assert "and not" in capsys.readouterr().err and tree(tmp_path) == {}
    assert [path for path, _ in server.requests].count("/mirror/all.zip") == 1, "no use in trying again"


def test_published_hashes():
    """Every archive has one whole hash, an official address first, and a name of its own."""
    spec = importlib.util.spec_from_file_location("download", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pieces = [piece for data in script.DATA_SETS.values() for piece in (*data.pieces.values(), *data.always)]
    archives = [archive for piece in pieces for archive in piece.archives]
    assert len(archives) == 7 and len({archive.urls for archive in archives}) == 7
    for archive in archives:
        assert [len(digits) for digits in (archive.sha256, archive.sha1) if digits] in ([64], [40])
        assert len({url.rpartition("/")[2] for url in archive.urls}) == 1, "mirrors go on with each other's parts"
