"""No test reaches another machine: a try is stopped before a packet leaves, in this process and in its children."""

from __future__ import annotations

import sys

ATTEMPTS: list[str] = []
"""The tries that were stopped, for code that swallows the error."""
_NAMES = {"", "localhost", "::1"}
_WITH_ADDRESS = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}
_WITH_NAME = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0}


class NetworkUsed(BaseException):
    """Not an Exception, so that code which tries and goes on does not hide it."""


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("utf-8", "replace")
    return host is None or (isinstance(host, str) and (host in _NAMES or host.startswith("127.")))


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not event.startswith("socket."):
        return
    if event in _WITH_ADDRESS:
        address = arguments[_WITH_ADDRESS[event]]
        if not isinstance(address, tuple) or _is_here(address[0]):  # a path of this machine, or none
            return
    elif event not in _WITH_NAME or _is_here(arguments[_WITH_NAME[event]]):
        return
    ATTEMPTS.append(f"{event} {arguments[1:] if event in _WITH_ADDRESS else arguments[:1]}")
    raise NetworkUsed(f"a test used the network ({ATTEMPTS[-1]}); only addresses of this machine are allowed")


sys.addaudithook(_hook)
