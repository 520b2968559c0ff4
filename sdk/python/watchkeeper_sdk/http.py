"""Requests to the hosts that the operator granted, over wasi:http. They block: a call into a plugin has a deadline, and
nothing else to do meanwhile."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .error import Error
from .types import Payload

_URL = re.compile(r"(https?)://([^/?#\s]+)([^#\s]*)(?:#\S*)?")


@dataclass
class Response:
    """What came back; the names of `headers` are in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def success(self) -> "Response":
        """Itself where the status means success; else raises what the status means: `unauthorized` for 401 and 403, `unavailable`
        (with retry-after, if there is one) for whatever else."""
        if 200 <= self.status <= 299:
            return self
        answered = f"the other side answered {self.status}"
        if self.status in (401, 403):
            raise Error.unauthorized(answered)
        seconds = re.fullmatch(r"[0-9]{1,9}", self.header("retry-after") or "")
        raise Error.unavailable(answered, int(seconds[0]) * 1000 if seconds else None)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def text(self) -> str:
        return Payload(self.body).text()

    def json(self) -> Any:
        return Payload(self.body).json()


@dataclass
class Request:
    """One request, taken apart for whoever sends it."""

    method: str
    scheme: str
    authority: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    timeout_ms: int


def _nobody(_: Request) -> Response:
    raise Error.failed(
        "HTTP is for plugins that export `poller` or have `asks: { http: [HOST] }` in plugin.yaml; "
        "in tests, `http.connect` takes what answers"
    )


_send: Callable[[Request], Response] = _nobody


def connect(send: Callable[[Request], Response]) -> None:
    """What answers requests from now on."""
    global _send
    _send = send


def get(url: str, headers: dict[str, str] | None = None, query: dict[str, str] | None = None) -> Response:
    return request("GET", url, headers, query=query)


def post(url: str, body: bytes | str, headers: dict[str, str] | None = None) -> Response:
    return request("POST", url, headers, body)


def request(
    method: str,
    url: str,
    headers: dict[str, str] | None = None,
    body: bytes | str | None = None,
    timeout_ms: int = 20_000,
    query: dict[str, str] | None = None,
) -> Response:
    """One request, redirects not followed; `query` is put behind the URL, encoded. Raises `unavailable` where there is no answer, and `failed` where the host isn't
    granted; an answer of any status is an answer."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Error.failed(f"{url}: no http:// or https:// URL")
    scheme, authority, rest = parts.groups()
    path = rest if rest.startswith("/") else f"/{rest}"
    for name, value in (query or {}).items():
        path += f"{'&' if '?' in path else '?'}{quote(name, safe='')}={quote(value, safe='')}"
    body = body.encode() if isinstance(body, str) else body
    return _send(Request(method, scheme, authority, path, headers or {}, body, timeout_ms))
