"""Alerts that come as `{"alerts": [{"id": "…", "title": "…"}]}`."""

from dataclasses import dataclass
from typing import Any

from watchkeeper_sdk import Alert, Error, Feed, Parser, Payload, Severity, Source, Status, log, register, time


@dataclass
class Config:
    """The keys of a source's file. A key that isn't here is refused by name."""

    webhook_path: str = "/alerts/@name@"


class @Type@(Source, Parser):
    Config = Config

    @classmethod
    def configure(cls, config: Config) -> "tuple[@Type@, Feed]":
        if not config.webhook_path.startswith("/"):
            raise Error.invalid_config("webhook_path", "must begin with `/`")
        return cls(), Feed.webhook(config.webhook_path)

    def parse(self, payload: Payload) -> list[Alert]:
        document = payload.json()
        alerts = document.get("alerts") if isinstance(document, dict) else None
        if not isinstance(alerts, list):
            raise Error.invalid_payload("alerts: must be a list")
        log.info(f"{len(alerts)} alerts")
        return [read(given, f"alerts[{at}]") for at, given in enumerate(alerts)]


def read(given: Any, at: str) -> Alert:
    """One alert of the list; a mistake is named with its place."""
    given = given if isinstance(given, dict) else {}

    def text(key: str) -> str:
        if not isinstance(given.get(key), str):
            raise Error.invalid_payload(f"{at}.{key}: must be a text")
        return given[key]

    severity = given.get("severity")
    severity = "warning" if severity is None else severity
    if severity not in ("info", "warning", "critical"):
        raise Error.invalid_payload(f"{at}.severity: must be info, warning or critical")
    status = Status.RESOLVED if given.get("resolved") is True else Status.FIRING
    labels = {"host": given["host"]} if isinstance(given.get("host"), str) else {}
    alert = Alert(text("id"), Severity[severity.upper()], status, text("title"), labels=labels)
    if isinstance(given.get("since"), str):
        alert.starts_at = time.read(given["since"], f"{at}.since")
    return alert


register(source=@Type@, parser=@Type@)
