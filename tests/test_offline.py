"""The guard of tests/offline: other machines are out of reach of the tests and of what they start; this one is not."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import network_guard
import pytest

from tests.conftest import Command, run_python

OTHER = "192.0.2.1"  # for documents (RFC 5737), no machine's
REACHES: dict[str, Callable[[], object]] = {
    "connect": lambda: socket.socket().connect((OTHER, 9)),
    "connect_ex": lambda: socket.socket().connect_ex((OTHER, 9)),
    "IPv6": lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 9)),
    "sendto": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", (OTHER, 53)),
    "create_connection": lambda: socket.create_connection((OTHER, 9), 1),
    "a name": lambda: socket.getaddrinfo("example.org", 443),
    "a name by another function": lambda: socket.gethostbyname("example.org"),
    "a page": lambda: http.client.HTTPSConnection("example.org", timeout=1).request("GET", "/"),
}


@pytest.mark.parametrize("reach", REACHES.values(), ids=REACHES.keys())
def test_other_machines_are_out_of_reach(reach: Callable[[], object]) -> None:
    with pytest.raises(network_guard.NetworkUsed, match="a test used the network"):
        reach()
    assert len(network_guard.ATTEMPTS) == 1
    network_guard.ATTEMPTS.clear()


def test_what_goes_on_without_is_seen() -> None:
    def careless() -> None:
        with contextlib.suppress(BaseException):
            socket.create_connection((OTHER, 9), 1)

    thread = threading.Thread(target=careless)
    thread.start()
    thread.join()
    assert [OTHER in attempt for attempt in network_guard.ATTEMPTS] == [True]
    network_guard.ATTEMPTS.clear()


def test_this_machine_is_in_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, server.getsockname()[1]), 10).close()
    first, second = socket.socketpair()
    first.sendall(b"x")
    assert second.recv(1) == b"x"
    first.close()
    second.close()


def test_what_the_tests_start_has_the_guard(tmp_path: Path, toolkit_command: Command) -> None:
    done = run_python("-c", f"import socket; socket.create_connection(({OTHER!r}, 9), 1)", cwd=tmp_path)
    assert done.returncode == 1 and "NetworkUsed: a test used the network" in done.stderr
    done = toolkit_command("train", "--modality", "image", "--data", "mnist", TOOLKIT_DATA=str(tmp_path / "none"))
    assert done.returncode != 0 and "NetworkUsed" in done.stderr
