"""Public files over https, taken only where their content is the one that is known."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, NoReturn, TypeVar
from urllib import request
from urllib.error import URLError
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30.0
MAX_SECONDS = 900.0
_NOTIFY_BYTES = 4 * 2**20
_PART = 1 << 16

Result = TypeVar("Result")


class Refused(Exception):
    """A source that sent other content than is wanted, or none; the message says why, without a line break."""


def fetch(
    sources: Sequence[str],
    limit: int,
    place: Path,
    check: Callable[[Path], Result],
    notify: Callable[[str], None],
) -> Result:
    """Write what the first good source sends to the new file `place` and return what `check` makes of it.

    sources: https addresses of the same content. limit: its size in bytes, or the most that is taken.
    check: reads the file, which nobody else has seen yet; raises Refused where it is not what is wanted.
    Raises Refused when no source is good, and OSError when the disk does not take the file.
    """
    reasons = []
    for url in sources:
        try:
            _stream(url, limit, place, notify)
            return check(place)
        except Refused as error:
            reasons.append(str(error))
            place.unlink(missing_ok=True)
    raise Refused("; ".join(dict.fromkeys(reasons)))


def has_sha256(wanted: str) -> Callable[[Path], None]:
    """Return a check for `fetch`: the file has this hash."""

    def check(place: Path) -> None:
        digest = hashlib.sha256()
        with place.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        same(digest.hexdigest(), wanted)

    return check


def same(digest: str, wanted: str) -> None:
    """Raise Refused where two hashes differ."""
    if digest != wanted:
        raise Refused(f"not the content that is known: its sha256 is {digest[:12]}..., not {wanted[:12]}...")


def sha256_of(files: Iterable[tuple[str, bytes]]) -> str:
    """Return one hash of names and contents, in any order of the files.

    Archives that a host makes of a commit may change their bytes from one day to another; this stays.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _stream(url: str, limit: int, place: Path, notify: Callable[[str], None]) -> None:
    """Write the body of `url` to `place`. Raises Refused, and OSError of the disk alone."""
    if urlsplit(url).scheme != "https":
        raise Refused(f"{url} is not https")
    end = time.monotonic() + MAX_SECONDS
    step = max(_NOTIFY_BYTES, limit // 10)
    count, reported = 0, 0
    with place.open("xb") as file, _of_network(lambda: _opener().open(url, timeout=TIMEOUT_SECONDS)) as response:
        if (response.length or 0) > limit:
            _too_large(limit)
        while part := _of_network(lambda: response.read(_PART)):
            count += len(part)
            if count > limit:
                _too_large(limit)
            if time.monotonic() > end:
                raise Refused(f"not done after {MAX_SECONDS / 60:.0f} minutes")
            file.write(part)
            if count >= reported + step:
                reported = count
                notify(f"  {reported / 2**20:.0f} MB")


def _too_large(limit: int) -> NoReturn:
    raise Refused(f"more than the {limit:,} bytes that it has were sent")


def _of_network(step: Callable[[], Result]) -> Result:
    """Return what `step` returns. Raises Refused for whatever goes wrong between here and there."""
    try:
        return step()
    except Exception as error:  # http.client and ssl have errors of many kinds
        why = error.reason if type(error) is URLError else error  # not HTTPError, whose own text is better
        raise Refused(" ".join(str(why).split()) or type(error).__name__) from None


class _StaysHttps(request.HTTPRedirectHandler):
    """Redirects lead to https alone."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise URLError(f"redirected to {urlsplit(newurl).scheme or 'no scheme'}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    """Return an opener that knows no scheme but https, whose certificates it checks; proxies as the system has them."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPSHandler(context=ssl.create_default_context()),
        request.HTTPDefaultErrorHandler(),
        _StaysHttps(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
