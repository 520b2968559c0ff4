"""The contract's nouns, with what a plugin's code wants to do with them."""

import json
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from .error import Error


class Severity(Enum):
    INFO = 0
    WARNING = 1
    CRITICAL = 2


class Status(Enum):
    FIRING = 0
    RESOLVED = 1


@dataclass
class Alert:
    """One occurrence of one alert. `id` is the sender's own stable identity of what alerts; `title` is one line."""

    id: str
    severity: Severity
    status: Status
    title: str
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    starts_at: int | None = None
    ends_at: int | None = None


# Deeper than any sender nests, and far from where the sandbox's stack ends.
_DEEPEST = 200

_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass
class Payload:
    """What arrived, as it arrived."""

    body: bytes
    content_type: str | None = None
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The body as text; `invalid-payload` where it is none."""
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise Error.invalid_payload(f"body is not UTF-8: byte {error.start}") from None

    def json(self) -> Any:
        """The body as JSON; `invalid-payload` that begins with `not JSON` where it is none."""
        text = self.text()
        if _is_too_deep(text):
            raise Error.invalid_payload(f"not JSON: nested deeper than {_DEEPEST}")
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise Error.invalid_payload(f"not JSON: {error}") from None
        if _HALF_A_CHARACTER.search(self.body):
            _refuse_lone_surrogates(value)
        return value

    def attribute(self, name: str) -> str | None:
        """The value of an attribute: an HTTP header (names are in lower case) or a message's metadata."""
        return next((value for key, value in self.attributes if key == name), None)


def _is_too_deep(text: str) -> bool:
    """`json` recurses, and the end of the stack is the end of the instance."""
    if text.count("{") + text.count("[") <= _DEEPEST:
        return False
    depth = 0
    for bracket in _NO_BRACKET.sub("", _TEXT.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            return True
    return False


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_lone_surrogates(value: Any) -> None:
    """No such text can leave the sandbox: texts are UTF-8 outside."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Error.invalid_payload("not JSON: an escape is half of a character (a lone surrogate)") from None


@dataclass
class Feed:
    """How a source wants to be fed."""

    kind: str
    path: str = ""
    interval_ms: int = 0
    transport: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def webhook(cls, path: str) -> "Feed":
        """By POSTs to `path`: absolute, of segments of `A-Z a-z 0-9 - _ . ~`."""
        return cls("webhook", path=path)

    @classmethod
    def poll(cls, interval_ms: int) -> "Feed":
        """By `Poller.fetch`, every `interval_ms` milliseconds, at least 1000."""
        return cls("poll", interval_ms=interval_ms)

    @classmethod
    def subscription(cls, transport: str, settings: dict[str, str]) -> "Feed":
        """By one of the host's own transports, such as `nats`, with that transport's settings."""
        return cls("subscription", transport=transport, settings=settings)


@dataclass
class Reply:
    """An answer to a sender: an HTTP status, 200 to 599."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Batch:
    """What one `fetch` brought. `cursor` is handed to the next once this is stored; `more`: there is more to fetch now."""

    alerts: list[Alert]
    cursor: str | None = None
    more: bool = False
