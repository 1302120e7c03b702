import hashlib
import io
import os
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from detzoo import hub
from detzoo.hub import DownloadError, fetch

CONTENT = bytes(range(256)) * 5000  # more than one chunk
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, self.headers["User-Agent"]))
        name = self.path.partition("?")[0].rpartition("/")[2]
        getattr(self, name.partition(".")[0], self.missing)()

    def good(self, sent=CONTENT):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(sent)

    def cut(self):
        self.good(CONTENT[:-1000])

    def unannounced(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def moved(self):
        self.redirect("/elsewhere/good.bin")

    def treason(self):
        self.redirect(self.server.local_file.as_uri())

    def ftp(self):
        self.redirect("ftp://127.0.0.1/good.bin")

    def silent(self):
        self.server.released.wait(20)

    def slow(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        self.wfile.flush()
        self.server.begun.release()
        self.server.released.wait(20)
        self.wfile.write(CONTENT[1000:])

    def missing(self):
        self.send_error(404)

    def page(self):
        self.instead(b"\n<!DOCTYPE html><title>Sign in</title>")

    def pointer(self):
        self.instead(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")

    def instead(self, sent):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def redirect(self, where):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.requests, server.begun, server.released = [], threading.Semaphore(0), threading.Event()
    server.local_file = tmp_path / "secret.bin"
    server.local_file.write_bytes(CONTENT)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "not" / "there" / "yet"


def failure(url, cache, sha256=SHA256):
    """The message of the failed fetch, which must name the address, the place and the other way, and leave nothing."""
    before = set(cache.iterdir()) if cache.exists() else set()
    with pytest.raises(DownloadError) as caught:
        fetch(url, sha256, cache_dir=cache)
    message = str(caught.value)
    place = cache / url.rpartition("/")[2]
    assert url in message and f"put the file at {place} by hand, or give the path of a file" in message
    assert set(cache.iterdir()) == before
    return message


def test_addresses_without_a_hash_that_end_alike_are_two_files(server, cache):
    first, second = (fetch(f"{server.url}/{folder}/good.bin", cache_dir=cache) for folder in "ab")
    assert first != second and first.name == second.name == "good.bin"
    assert fetch(f"{server.url}/a/good.bin", cache_dir=cache) == first and len(server.requests) == 2


@pytest.mark.parametrize("sha256", [SHA256, SHA256[:8], SHA256[:8].upper()])
def test_good_file(server, cache, sha256):
    path = fetch(f"{server.url}/a/good.bin?download=1", sha256, cache_dir=cache)
    assert path == cache / "good.bin"
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]
    assert server.requests == [("/a/good.bin?download=1", "detzoo")]


def test_permissions_are_those_of_any_new_file(server, cache):
    path = fetch(f"{server.url}/good.bin", cache_dir=str(cache))
    plain = cache / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_length_not_announced(server, cache):
    assert fetch(f"{server.url}/unannounced.bin", SHA256, cache_dir=cache).read_bytes() == CONTENT


def test_redirect_is_followed(server, cache):
    path = fetch(f"{server.url}/moved.bin", SHA256, cache_dir=cache)
    assert path.name == "moved.bin" and path.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["treason.bin", "ftp.bin"])
def test_redirect_to_anything_but_http_is_refused(server, cache, name):
    failure(f"{server.url}/{name}", cache)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/a.bin", "/a/b.bin", "data:,a", "http:///a.bin"]
)
def test_other_addresses_are_refused(tmp_path, url):
    with pytest.raises(ValueError, match="begins with http"):
        fetch(url, cache_dir=tmp_path)


@pytest.mark.parametrize("path", ["", "/", "/..", "/..\\a.bin"])
def test_address_without_a_file_name(tmp_path, path):
    with pytest.raises(ValueError, match="ends in a file name"):
        fetch(f"http://127.0.0.1{path}", cache_dir=tmp_path)


@pytest.mark.parametrize("sha256", ["", SHA256[:7], "z" * 64, SHA256 + "0"])
def test_sha256_that_is_none(tmp_path, sha256):
    with pytest.raises(ValueError, match="the first 8 or more"):
        fetch("http://127.0.0.1/a.bin", sha256, cache_dir=tmp_path)


def test_wrong_hash(server, cache):
    message = failure(f"{server.url}/good.bin", cache, "0" * 8)
    assert SHA256 in message and "not 00000000" in message


def test_cut_connection(server, cache):
    message = failure(f"{server.url}/cut.bin", cache)
    assert f"cut after {len(CONTENT) - 1000} of {len(CONTENT)} bytes" in message


def test_not_found(server, cache):
    assert "404 Not Found" in failure(f"{server.url}/nothing.bin", cache, SHA256)


def test_connection_refused(cache, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:  # bound but not listening: nobody else gets this port, nobody answers
        closed.bind(("127.0.0.1", 0))
        assert "refused" in failure(f"http://127.0.0.1:{closed.getsockname()[1]}/good.bin", cache)


def test_silent_server(server, cache, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    assert "timed out" in failure(f"{server.url}/silent.bin", cache)


def test_cached_file_needs_no_network(server, cache):
    url = f"{server.url}/good.bin"
    first = fetch(url, SHA256, cache_dir=cache)
    assert fetch(url, SHA256[:8], cache_dir=cache) == first
    assert len(server.requests) == 1


def test_file_put_there_by_hand(server, cache):
    cache.mkdir(parents=True)
    (cache / "nothing.bin").write_bytes(CONTENT)
    assert fetch(f"{server.url}/nothing.bin", SHA256, cache_dir=cache).read_bytes() == CONTENT
    assert server.requests == []


def test_damaged_cached_file_is_neither_used_nor_deleted(server, cache):
    cache.mkdir(parents=True)
    damaged = cache / "good.bin"
    damaged.write_bytes(CONTENT[:-1])
    message = failure(f"{server.url}/good.bin", cache, SHA256)
    assert str(damaged) in message and "Delete it" in message
    assert damaged.read_bytes() == CONTENT[:-1]
    assert server.requests == []


def test_cache_is_torchvisions(server, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    assert fetch(f"{server.url}/good.bin", SHA256) == tmp_path / "hub" / "checkpoints" / "good.bin"


def test_half_a_file_is_never_visible_and_two_may_fetch_at_once(server, cache):
    with ThreadPoolExecutor(2) as pool:
        fetches = [pool.submit(fetch, f"{server.url}/slow.bin", SHA256, cache_dir=cache) for _ in range(2)]
        assert all(server.begun.acquire(timeout=10) for _ in fetches)  # both are under way
        assert not (cache / "slow.bin").exists()
        server.released.set()
        assert [one.result(10) for one in fetches] == [cache / "slow.bin"] * 2
    assert os.listdir(cache) == ["slow.bin"]
    assert (cache / "slow.bin").read_bytes() == CONTENT


def test_interrupted_by_the_user(server, cache, monkeypatch):
    def interrupt(*args):
        assert [path.name.startswith(".good.") for path in cache.iterdir()] == [True]  # unfinished, under another name
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "_copy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server.url}/good.bin", SHA256, cache_dir=cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_progress_is_for_terminals(server, cache, monkeypatch, terminal, progress, shown):
    screen = io.StringIO()
    screen.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", screen)
    fetch(f"{server.url}/good.bin", cache_dir=cache, progress=progress)
    assert ("good.bin" in screen.getvalue()) is shown


def test_a_download_that_is_to_go_on_needs_a_hash(server, cache):
    """Else two pieces of different files may be put together, and nobody finds out."""
    with pytest.raises(ValueError, match="resume=True for http.*expected its hash as well"):
        fetch(f"{server.url}/good.bin", cache_dir=cache, resume=True)
    assert server.requests == [] and not cache.exists()


@pytest.mark.parametrize(
    ("name", "sha256", "kept"),
    [("good.bin", "0" * 64, False), ("nothing.bin", SHA256, False), ("cut.bin", SHA256, True)],
)
def test_what_came_is_said_to_be_kept_where_it_is(server, cache, name, sha256, kept):
    with pytest.raises(DownloadError) as caught:
        fetch(f"{server.url}/{name}", sha256, cache_dir=cache, resume=True)
    assert ("what came is kept" in str(caught.value)) is kept is (cache / f"{name}.partial").exists()
    assert "or try again" in str(caught.value)


def test_a_file_that_another_process_ends_before_it_is_locked(server, cache, monkeypatch):
    """The lock would be on what has another name by then."""
    fcntl, locked = pytest.importorskip("fcntl"), []
    lock = fcntl.flock

    def late(file, how):
        if not locked:
            os.replace(cache / "good.bin.partial", cache / "ended")
        lock(file, how)
        locked.append(os.fstat(file.fileno()).st_ino)

    monkeypatch.setattr(fcntl, "flock", late)
    assert fetch(f"{server.url}/good.bin", SHA256, cache_dir=cache, resume=True).read_bytes() == CONTENT
    assert len(locked) == 2 and (cache / "good.bin").stat().st_ino == locked[1]


@pytest.mark.parametrize(("kind", "name"), [("page", "a web page"), ("pointer", "a Git-LFS pointer")])
def test_what_a_server_sends_instead_is_not_kept(server, cache, monkeypatch, kind, name):
    """Or the address would go on failing after the server is mended."""
    address = f"{server.url}/{kind}.bin"
    with pytest.raises(DownloadError, match=f"what came is {name}, not the file: open the address in a browser"):
        fetch(address, cache_dir=cache)
    monkeypatch.setattr(Handler, kind, Handler.good)
    assert fetch(address, cache_dir=cache).read_bytes() == CONTENT
