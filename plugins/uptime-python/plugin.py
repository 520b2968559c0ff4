"""Checks that a monitor found up or down: `{"checks": [{"id": "db-1", "name": "database", "state": "down"}]}`. The same
plugin in each language that has an SDK, held to `tests/conformance/uptime.json`."""

from dataclasses import dataclass, field
from typing import Any

from watchkeeper_sdk import (
    Alert,
    Error,
    Feed,
    Health,
    Parser,
    Payload,
    Reply,
    Responder,
    Severity,
    Source,
    Status,
    log,
    register,
)


@dataclass
class Config:
    """The keys of a source's file."""

    webhook_path: str = "/alerts/uptime"
    # Names of checks to leave out.
    ignore: list[str] = field(default_factory=list)
    # A check that failed at least so often is critical.
    critical_after: int = 3


class Uptime(Source, Parser, Responder, Health):
    Config = Config

    @classmethod
    def configure(cls, config: Config) -> "tuple[Uptime, Feed]":
        if not config.webhook_path.startswith("/"):
            raise Error.invalid_config("webhook_path", "must begin with `/`")
        if config.critical_after < 1:
            raise Error.invalid_config("critical_after", "must be at least 1")
        return cls(config), Feed.webhook(config.webhook_path)

    def __init__(self, config: Config):
        self.config = config

    def respond(self, payload: Payload) -> Reply | None:
        """A monitor that is set up sends a challenge, and wants it back."""
        try:
            document = payload.json()
        except Error:
            return None  # Then it's for `parse` to say what is wrong.
        challenge = document.get("challenge") if isinstance(document, dict) else None
        if not isinstance(challenge, str):
            return None
        return Reply(200, {"content-type": "text/plain"}, challenge.encode())

    def parse(self, payload: Payload) -> list[Alert]:
        document = payload.json()
        checks = document.get("checks") if isinstance(document, dict) else None
        if not isinstance(checks, list):
            raise Error.invalid_payload("checks: must be a list")
        log.info(f"{len(checks)} checks")
        alerts = [self.alert(check, f"checks[{at}]") for at, check in enumerate(checks)]
        return [alert for alert in alerts if alert.labels["check"] not in self.config.ignore]

    def alert(self, check: Any, at: str) -> Alert:
        if not isinstance(check, dict):
            check = {}
        id, name, state = (text(check.get(key), f"{at}.{key}") for key in ("id", "name", "state"))
        status = status_of(state, f"{at}.state")
        failures = count(given(check, "failures", 1), f"{at}.failures")
        since = given(check, "since", None)
        return Alert(
            id,
            self.severity(state, failures),
            status,
            f"{name} is {state}",
            starts_at=None if since is None else count(since, f"{at}.since") * 1000,
            description=text(given(check, "message", ""), f"{at}.message"),
            labels={"check": name} | tags(given(check, "tags", {}), f"{at}.tags"),
            annotations={"failures": str(failures)},
        )

    def severity(self, state: str, failures: int) -> Severity:
        if state == "up":
            return Severity.INFO
        return Severity.CRITICAL if failures >= self.config.critical_after else Severity.WARNING

    def check(self) -> None:
        if "*" in self.config.ignore:
            raise Error.failed("ignore: * leaves nothing to watch")


def given(check: dict[str, Any], key: str, default: Any) -> Any:
    value = check.get(key)
    return default if value is None else value


def status_of(state: str, at: str) -> Status:
    if state == "down":
        return Status.FIRING
    if state == "up":
        return Status.RESOLVED
    raise Error.invalid_payload(f"{at}: `{state}` is neither `down` nor `up`")


def text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise Error.invalid_payload(f"{at}: must be a text")
    return value


# Beyond this, not every language's numbers are whole.
MOST = 2**53 - 1


def count(value: Any, at: str) -> int:
    if type(value) is not int or not 0 <= value <= MOST:
        raise Error.invalid_payload(f"{at}: must be a whole number")
    return value


def tags(value: Any, at: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(tag, str) for tag in value.values()):
        raise Error.invalid_payload(f"{at}: must be an object of texts")
    return value


register(source=Uptime, parser=Uptime, responder=Uptime, health=Uptime)
