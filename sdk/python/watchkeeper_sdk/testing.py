"""Plugins under test, in any Python from 3.11: called as the host calls them, with every alert held to the contract's rules.

    plugin = testing.source(Mine, {"webhook_path": "/x"})
    alerts = testing.parse(plugin, b"{}")
"""

import json
import os
from pathlib import Path
from typing import Any

from .config import read
from .error import Error
from .plugin import Parser, Source
from .types import Alert, Payload, Status

_KIB = 1024


def source(source: type[Source], keys: dict[str, Any] | None = None) -> Any:
    """Configures a source with the keys of its file."""
    plugin, _ = source.configure(read(getattr(source, "Config", None), json.dumps(keys or {})))
    return plugin


def parse(plugin: Parser, body: bytes | str) -> list[Alert]:
    """The alerts that a plugin makes of a body. An alert that breaks a rule of the contract is an AssertionError."""
    alerts = plugin.parse(Payload(body.encode() if isinstance(body, str) else body))
    for at, alert in enumerate(alerts):
        _hold(alert, f"alerts[{at}]")
    return alerts


def _hold(alert: Alert, at: str) -> None:
    _length(f"{at}.id", alert.id, 1, 512)
    _length(f"{at}.title", alert.title, 1, _KIB)
    _length(f"{at}.description", alert.description, 0, 32 * _KIB)
    for what, pairs, longest in (
        ("labels", alert.labels, 4 * _KIB),
        ("annotations", alert.annotations, 32 * _KIB),
    ):
        assert len(pairs) <= 128, f"{at}: {len(pairs)} {what}, more than 128"
        for key, value in pairs.items():
            _length(f"{at}: a key of {what}", key, 1, 256)
            _length(f"{at}.{what}.{key}", value, 0, longest)
    assert alert.status is Status.RESOLVED or alert.ends_at is None, f"{at}: ends_at on a firing alert"


def _length(what: str, text: str, least: int, most: int) -> None:
    length = len(text.encode())
    assert least <= length <= most, f"{what} has {length} bytes, not {least} to {most}"


def samples(plugin: Parser, folder: str | Path) -> None:
    """Parses every sample in `folder` (`name.json`) and compares with `name.expected.json`; those with a `name.mock.yaml`, for
    which only the host has what they want, are left to `watchkeeper plugin test`. UPDATE_EXPECT=1 writes what comes out; read
    the difference."""
    names = sorted(path for path in Path(folder).iterdir() if _is_payload(path))
    assert names, f"{folder}: no samples"
    wrong = [difference for path in names if (difference := _sample(plugin, path))]
    assert not wrong, "\n".join(wrong)


def _is_payload(path: Path) -> bool:
    others = (".expected.json", ".mock.yaml", ".incident.yaml")
    is_other = path.name.startswith(".") or path.name.endswith(others)
    return not is_other and not path.with_suffix(".mock.yaml").exists()


def _sample(plugin: Parser, path: Path) -> str | None:
    try:
        got: Any = [as_json(alert) for alert in parse(plugin, path.read_bytes())]
    except Error as error:
        got = {"error": error.kind, "reason": str(error)}
    beside = path.with_suffix(".expected.json")
    if "UPDATE_EXPECT" in os.environ:
        beside.write_text(json.dumps(got, indent=2, ensure_ascii=False) + "\n")
    expected = json.loads(beside.read_text()) if beside.exists() else None
    return None if got == expected else f"{path.name}:\n  got      {got}\n  expected {expected}"


def as_json(alert: Alert) -> dict[str, Any]:
    """An alert as the samples write it: absent times are left out."""
    json = {
        "id": alert.id,
        "severity": alert.severity.name.lower(),
        "status": alert.status.name.lower(),
        "title": alert.title,
        "description": alert.description,
        "labels": alert.labels,
        "annotations": alert.annotations,
    }
    times = {"starts_at": alert.starts_at, "ends_at": alert.ends_at}
    return json | {key: time for key, time in times.items() if time is not None}
