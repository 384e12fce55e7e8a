"""A server on this machine that stands for the hosts of public data. It speaks plainly where https is asked for."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib import request

import pytest


@dataclass
class Host:
    """The content of each path; an int is a status, a str a place that is redirected to."""

    address: str = ""
    pages: dict[str, bytes | int | str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    says_length: bool = True

    @property
    def https(self) -> str:
        return f"https://{self.address}"


@contextlib.contextmanager
def serving() -> Iterator[Host]:
    """Yield a host whose https addresses are served without encryption, as no certificate is at hand."""
    host = Host()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.path)
            page = host.pages.get(self.path, 404)
            if isinstance(page, int):
                self.send_error(page)
            elif isinstance(page, str):
                self.send_response(302)
                self.send_header("Location", page)
                self.end_headers()
            else:
                self.send_response(200)
                if host.says_length:
                    self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # who has enough hangs up
                    self.wfile.write(page)

        def log_message(self, *_: object) -> None: ...

    class Plain(request.HTTPSHandler):
        def https_open(self, req: request.Request) -> http.client.HTTPResponse:
            return self.do_open(http.client.HTTPConnection, req)

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    host.address = f"127.0.0.1:{running.server_address[1]}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "HTTPSHandler", Plain)
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(proxy, raising=False)
            patch.delenv(proxy.upper(), raising=False)
        try:
            yield host
        finally:
            running.shutdown()
            running.server_close()
