"""Alerts that are fetched. Without a `url` in the source's file, this one only counts how often it was asked."""

from dataclasses import dataclass
from typing import Any

from watchkeeper_sdk import Alert, Batch, Error, Feed, Health, Poller, Severity, Source, Status, http, register


@dataclass
class Config:
    """The keys of a source's file. A key that isn't here is refused by name."""

    # In seconds.
    poll_interval: int = 60
    # Answers `[{"id": "…", "title": "…"}]`. Its host goes into `asks` of plugin.yaml, for the operator to grant.
    url: str = ""


class @Type@(Source, Poller, Health):
    Config = Config

    @classmethod
    def configure(cls, config: Config) -> "tuple[@Type@, Feed]":
        if config.poll_interval < 1:
            raise Error.invalid_config("poll_interval", "must be 1 or more")
        return cls(config.url), Feed.poll(config.poll_interval * 1000)

    def __init__(self, url: str):
        self.url = url

    def fetch(self, cursor: str | None) -> Batch:
        """What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
        acknowledged to the other side now."""
        times = int(cursor or 0) + 1
        title = f"@name@ was polled {times} times"
        heartbeat = Alert("heartbeat", Severity.INFO, Status.FIRING, title)
        alerts = [read(given) for given in self.ask()] if self.url else [heartbeat]
        return Batch(alerts, cursor=str(times))

    def check(self) -> None:
        """Says whether the other side can be reached and takes the credentials."""
        if self.url:
            self.ask()

    def ask(self) -> list[Any]:
        response = http.get(self.url, {"accept": "application/json"})
        if response.status in (401, 403):
            raise Error.unauthorized(f"{self.url} answered {response.status}")
        if response.status != 200:
            raise Error.unavailable(f"{self.url} answered {response.status}")
        return response.json()


def read(given: dict[str, Any]) -> Alert:
    return Alert(given["id"], Severity.WARNING, Status.FIRING, given["title"])


register(source=@Type@, poller=@Type@, health=@Type@)
