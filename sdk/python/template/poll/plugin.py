"""Alerts that are fetched: `GET url?after=cursor` answers `{"alerts": [{"id": "…", "title": "…"}], "next": "…", "more": false}`,
and `next` is the cursor from then on."""

from dataclasses import dataclass
from typing import Any

from watchkeeper_sdk import Alert, Batch, Error, Feed, Health, Poller, Severity, Source, Status, http, register, time


@dataclass
class Config:
    """The keys of a source's file. A key that isn't here is refused by name."""

    # Its host goes into `asks` of plugin.yaml, for the operator to grant.
    url: str
    # `${NAME}` in the file is a placeholder here, which the host replaces in the request's header.
    token: str = ""
    # In seconds.
    poll_interval: int = 60


class @Type@(Source, Poller, Health):
    Config = Config

    @classmethod
    def configure(cls, config: Config) -> "tuple[@Type@, Feed]":
        if config.poll_interval < 1:
            raise Error.invalid_config("poll_interval", "must be 1 or more")
        if not config.url.startswith(("http://", "https://")):
            raise Error.invalid_config("url", "must begin with http:// or https://")
        return cls(config.url, config.token), Feed.poll(config.poll_interval * 1000)

    def __init__(self, url: str, token: str):
        self.url = url
        self.token = token

    def fetch(self, cursor: str | None) -> Batch:
        """What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
        acknowledged to the other side now."""
        page = self.ask(cursor).json()
        page = page if isinstance(page, dict) else {}
        alerts = page.get("alerts")
        if not isinstance(alerts, list):
            raise Error.invalid_payload("alerts: must be a list")
        read_alerts = [read(given, f"alerts[{at}]") for at, given in enumerate(alerts)]
        following = page.get("next")
        if not isinstance(following, str | None):
            raise Error.invalid_payload("next: must be a text")
        return Batch(read_alerts, cursor if following is None else following, more=page.get("more") is True)

    def check(self) -> None:
        """Whether the other side can be reached and takes the credentials."""
        self.ask(None)

    def ask(self, cursor: str | None) -> http.Response:
        headers = {"accept": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        query = {} if cursor is None else {"after": cursor}
        return http.get(self.url, headers, query).success()


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


register(source=@Type@, poller=@Type@, health=@Type@)
