"""A download is known content or nothing: the right bytes, over https alone, no more of them; nothing else stays."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib import request

import pytest

from tests.serving import Host, serving
from toolkit.data import download

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def host() -> Iterator[Host]:
    with serving() as host:
        yield host


def silent(_: str) -> None: ...


def taken(place: Path, *sources: str, limit: int = len(CONTENT), sha256: str = SHA256) -> bytes:
    download.fetch(sources, limit, place, download.has_sha256(sha256), silent)
    return place.read_bytes()


def refused(place: Path, *sources: str, limit: int = len(CONTENT), sha256: str = SHA256) -> str:
    with pytest.raises(download.Refused) as caught:
        taken(place, *sources, limit=limit, sha256=sha256)
    assert list(place.parent.iterdir()) == [] and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("says_length", [True, False])
def test_the_right_bytes_are_taken(host: Host, tmp_path: Path, says_length: bool) -> None:
    host.says_length = says_length
    host.pages = {"/a": CONTENT}
    assert taken(tmp_path / "a", f"{host.https}/a") == CONTENT


def test_other_bytes_are_refused_and_leave_nothing(host: Host, tmp_path: Path) -> None:
    host.pages = {"/flipped": bytes([1]) + CONTENT[1:], "/cut": CONTENT[:-1], "/none": b""}
    for page, content in host.pages.items():
        assert isinstance(content, bytes)
        line = refused(tmp_path / "a", f"{host.https}{page}")
        have = hashlib.sha256(content).hexdigest()
        assert line == f"not the content that is known: its sha256 is {have[:12]}..., not {SHA256[:12]}..."


@pytest.mark.parametrize("says_length", [True, False])
def test_what_is_too_large_is_cut_off(host: Host, tmp_path: Path, says_length: bool) -> None:
    host.says_length = says_length
    host.pages = {"/a": CONTENT + bytes(1), "/huge": bytes(64 * 2**20)}
    for page in host.pages:
        line = refused(tmp_path / "a", f"{host.https}{page}")
        assert line == "more than the 256,000 bytes that it has were sent"


def test_the_next_source_is_asked(host: Host, tmp_path: Path) -> None:
    host.pages = {"/wrong": b"x", "/gone": 410, "/good": CONTENT}
    sources = [f"{host.https}{page}" for page in ("/wrong", "/gone", "/good", "/never")]
    assert taken(tmp_path / "a", *sources) == CONTENT and host.asked == ["/wrong", "/gone", "/good"]
    (tmp_path / "a").unlink()
    line = refused(tmp_path / "a", *sources[:2], sources[1])
    assert line.startswith("not the content that is known: ") and line.endswith("; HTTP Error 410: Gone")


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data", ""])
def test_only_https_is_asked(scheme: str, host: Host, tmp_path: Path) -> None:
    host.pages = {"/a": CONTENT}
    url = f"{scheme}://{host.address}/a"
    assert refused(tmp_path / "a", url) == f"{url} is not https" and host.asked == []


@pytest.mark.parametrize("scheme", ["http", "ftp", "file"])
def test_a_redirect_leads_to_https_alone(scheme: str, host: Host, tmp_path: Path) -> None:
    host.pages = {"/a": f"{scheme}://{host.address}/b", "/b": CONTENT}
    line = refused(tmp_path / "a", f"{host.https}/a")
    own = f"redirected to {scheme}, which is not https"
    assert (line == own or "is not allowed" in line) and host.asked == ["/a"]  # urllib itself refuses file
    host.pages["/a"] = "/b"  # the same scheme
    assert taken(tmp_path / "a", f"{host.https}/a") == CONTENT


def test_a_circle_of_redirects_ends(host: Host, tmp_path: Path) -> None:
    host.pages = {"/a": f"{host.https}/a"}
    assert "infinite loop" in refused(tmp_path / "a", f"{host.https}/a") and len(host.asked) < 20


def test_a_slow_source_is_given_up(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_SECONDS", -1.0)
    host.pages = {"/a": CONTENT}
    assert refused(tmp_path / "a", f"{host.https}/a") == "not done after -0 minutes"


def test_certificates_are_checked() -> None:
    (handler,) = (each for each in download._opener().handlers if isinstance(each, request.HTTPSHandler))
    context = handler._context  # type: ignore[attr-defined]
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    schemes = {name for name in download._opener().handle_open if name != "unknown"}
    assert "http" not in schemes and "file" not in schemes and "ftp" not in schemes


def test_a_server_without_encryption_is_no_https(host: Host, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "HTTPSHandler", request.HTTPSHandler.__bases__[0])
        assert "SSL" in refused(tmp_path / "a", f"{host.https}/a").upper()


def test_a_hash_of_names_and_contents() -> None:
    files = [("b", b"2"), ("a", b"1")]
    assert download.sha256_of(files) == download.sha256_of(reversed(files))
    assert download.sha256_of(files) == hashlib.sha256(b"a\x001\x001b\x001\x002").hexdigest()
    others = ([("a", b"1")], [("a", b"1b"), ("", b"2")], [("ab", b"1"), ("", b"2")], [("a", b"2"), ("b", b"1")])
    assert len({download.sha256_of(each) for each in (files, *others)}) == 5
