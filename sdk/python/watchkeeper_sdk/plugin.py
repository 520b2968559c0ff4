"""What a plugin implements: one class for each interface of the contract, and `register`.

Calls come one at a time, many to an instance, and the host may start a fresh instance between any two. So nothing but what
`Source.configure` set up may be remembered from call to call.
"""

from abc import ABC, abstractmethod
from typing import Any

from .config import read
from .error import Error
from .investigation import Briefing, Outcome, Prompt, Step
from .types import Alert, Batch, Feed, Payload, Reply


class Source(ABC):
    """An origin of alerts that an operator configures: a file in `config/alert-sources/` with the plugin's name as its type."""

    Config: type
    """A dataclass of the source file's own keys. Unknown, missing and mistyped ones are refused by name before `configure`
    is called. A value that the operator wrote as `${NAME}` is a placeholder here, never the secret."""

    @classmethod
    @abstractmethod
    def configure(cls, config: Any) -> "tuple[Source, Feed]":
        """Checks the configuration (`Error.invalid_config`) and says how the source wants to be fed. The first value is `self`
        of all later calls."""


class Parser(ABC):
    """Turns what arrived into alerts."""

    @abstractmethod
    def parse(self, payload: Payload) -> list[Alert]:
        """All of the payload's alerts, or an error for the whole of it: `Error.invalid_payload` says where and what."""


class Responder(ABC):
    """Answers a sender directly: subscription handshakes, challenges."""

    @abstractmethod
    def respond(self, payload: Payload) -> Reply | None:
        """The answer, or None where this is no handshake and the payload is to be parsed."""


class Poller(ABC):
    """Fetches alerts from somewhere that doesn't push, with `http`, from the hosts that the operator granted."""

    @abstractmethod
    def fetch(self, cursor: str | None) -> Batch:
        """`cursor` is that of the last batch that is durably stored (None at the very first call), so it is safe to
        acknowledge it upstream here. Deadline 30 s."""


class Health(ABC):
    """Tells whether the plugin can do its work: credentials accepted, other side reachable."""

    @abstractmethod
    def check(self) -> None:
        """Called at start, then once a minute. Raises whatever stands in the way."""


class PromptBuilder(ABC):
    """Writes the briefing for a brain: what to look for, where to start."""

    @staticmethod
    @abstractmethod
    def score(alert: Alert) -> int:
        """How well this plugin knows alerts like this one. 0: not mine. The highest wins."""

    @staticmethod
    @abstractmethod
    def build(briefing: Briefing) -> Prompt:
        """Instructions, the task, and the calls to make before the brain is first asked."""


class Playbook(ABC):
    """A brain without a model."""

    @staticmethod
    @abstractmethod
    def next(briefing: Briefing, outcomes: list[Outcome]) -> Step:
        """The next step, given everything that was done so far, oldest first. It keeps no state: the same input gives the
        same answer."""


_EXPORTS = {
    "source": Source,
    "parser": Parser,
    "responder": Responder,
    "poller": Poller,
    "health": Health,
    "prompt_builder": PromptBuilder,
    "playbook": Playbook,
}

_ON_INSTANCE = ("parser", "responder", "poller", "health")

_registered: dict[str, type] = {}


def register(**classes: type) -> None:
    """Says what the plugin exports, each with the class that does it: `register(source=Mine, parser=Mine)`. Once in a plugin.

    With a `source`, `parser`, `responder`, `poller` and `health` must be that same class: they are called on the value that
    `Source.configure` made. Without one, each is made with no argument.
    """
    if _registered:
        raise TypeError("register: called a second time")
    for name, made_by in classes.items():
        base = _EXPORTS.get(name)
        if base is None:
            raise TypeError(f"register: `{name}` is none of: {', '.join(_EXPORTS)}")
        if not (isinstance(made_by, type) and issubclass(made_by, base)):
            raise TypeError(f"register: the class of `{name}` must be a {base.__name__}")
        missing = sorted(base.__abstractmethods__ & made_by.__abstractmethods__)
        if missing:
            raise TypeError(f"register: {made_by.__name__} has no `{missing[0]}`, which `{name}` needs")
        if name in _ON_INSTANCE and classes.get("source", made_by) is not made_by:
            raise TypeError(f"register: `{name}` must be the class of `source`, which has the configuration")
    _registered.update(classes)


def registered() -> dict[str, type]:
    """What the plugin registered, for the component and for tests."""
    if not _registered:
        raise TypeError("the plugin calls no `register(…)`")
    return _registered


_configured: list[Any] = []


def configure(source: type[Source], config_json: str) -> Feed:
    """What the exported `configure` does."""
    configured = source.configure(read(getattr(source, "Config", None), config_json))
    if not (isinstance(configured, tuple) and len(configured) == 2 and isinstance(configured[1], Feed)):
        raise Error.failed(f"`configure` answered {configured!r}; it must be the plugin and its Feed")
    plugin, feed = configured
    _configured[:] = [plugin]
    return feed


def instance(made_by: type) -> Any:
    """The one that `configure` made, or a new one where the plugin is no source."""
    if "source" not in _registered:
        return made_by()
    if not _configured:
        raise Error.failed("called before `configure`")
    return _configured[0]
