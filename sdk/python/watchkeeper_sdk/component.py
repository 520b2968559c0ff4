"""The component around a plugin: what the host calls, made of what the plugin registered. The build's own entry imports this;
plugins don't."""

import importlib
import re
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from componentize_py_types import Err
from wit_world.imports import watchkeeper_plugin_types_0_1_0 as contract

from . import http, log
from .error import Error
from .investigation import Briefing, Calls, Conclude, Outcome, OutcomeStatus, Prompt
from .plugin import configure, instance, registered
from .types import Alert, Batch, Feed, Payload, Reply, Severity, Status


def component(declared: list[str], *, with_http: bool) -> dict[str, type]:
    """Connects the SDK to the host and makes the exports. `declared` is what plugin.yaml says that the component exports; it
    must be what the plugin registered."""
    exports = [name.replace("_", "-") for name in registered()]
    if sorted(exports) != sorted(declared):
        raise TypeError(
            f"plugin.yaml exports [{', '.join(declared)}] and the plugin registers [{', '.join(exports)}]; "
            "they must be the same"
        )
    _connect_log()
    if with_http:
        http.connect(importlib.import_module("watchkeeper_sdk.wasi").send)
    return {_class_name(export): _EXPORTS[export] for export in exports}


def _class_name(export: str) -> str:
    """What the bindings call the class of an export: `WatchkeeperPluginPromptBuilder010`."""
    return f"WatchkeeperPlugin{''.join(word.capitalize() for word in export.split('-'))}010"


def _connect_log() -> None:
    logging = importlib.import_module("wit_world.imports.watchkeeper_plugin_logging_0_1_0")
    levels = {level.name: level for level in logging.Level}
    log.connect(lambda level, message: logging.log(levels[level], str(message)))


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """What a plugin raises, as the contract's error."""

    def guarded(*arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Error as error:
            raise Err(_error(error)) from None
        except BaseException as mistake:  # `sys.exit`, too: a plugin returns
            raise Err(contract.Error_Failed(_mistake(mistake))) from None

    return guarded


def _error(error: Error) -> Any:
    if error.kind == "invalid-config":
        return contract.Error_InvalidConfig(contract.ConfigError(error.key, error.reason))
    if error.kind == "unavailable":
        return contract.Error_Unavailable(contract.UnavailableError(error.reason, error.retry_after))
    kinds = {"invalid-payload": contract.Error_InvalidPayload, "unauthorized": contract.Error_Unauthorized}
    return kinds.get(error.kind, contract.Error_Failed)(error.reason)


def _mistake(mistake: BaseException) -> str:
    """An error that nobody meant, with the plugin's own lines that led to it, the innermost first."""
    places = traceback.extract_tb(mistake.__traceback__)
    own = [place for place in places if "/watchkeeper_sdk/" not in place.filename] or places
    where = ", in ".join(f"{place.name} ({_file(place.filename)}:{place.lineno})" for place in reversed(own[-3:]))
    return f"{type(mistake).__name__}: {mistake}{_remedy(mistake)} (in {where})"


def _remedy(mistake: BaseException) -> str:
    if isinstance(mistake, MemoryError):
        return "it needs more than its limit (limits.memory_mib)"
    if isinstance(mistake, ImportError):
        return "; import it at the top of the module: what isn't there while the component is built never is"
    return ""


def _file(path: str) -> str:
    """As the author knows it: componentize-py numbers the folders that modules come from."""
    return re.sub(r"^/[0-9]+/", "", path)


def _exports(name: str) -> Any:
    return importlib.import_module(f"wit_world.exports.watchkeeper_plugin_{name}_0_1_0")


class _Source:
    @_guarded
    def configure(self, config_json: str) -> Any:
        return _feed(configure(registered()["source"], config_json))


def _feed(feed: Feed) -> Any:
    source = _exports("source")
    if feed.kind == "webhook":
        return source.Feed_Webhook(source.WebhookFeed(feed.path))
    if feed.kind == "poll":
        return source.Feed_Poll(source.PollFeed(feed.interval_ms))
    return source.Feed_Subscription(source.SubscriptionFeed(feed.transport, list(feed.settings.items())))


class _Parser:
    @_guarded
    def parse(self, payload: Any) -> Any:
        return _alerts(instance(registered()["parser"]).parse(_payload(payload)))


class _Responder:
    @_guarded
    def respond(self, payload: Any) -> Any:
        reply = instance(registered()["responder"]).respond(_payload(payload))
        if reply is None:
            return None
        _is(reply, Reply, "the answer of `respond`")
        return _exports("responder").Reply(reply.status, list(reply.headers.items()), reply.body)


class _Poller:
    @_guarded
    def fetch(self, cursor: str | None) -> Any:
        batch = instance(registered()["poller"]).fetch(cursor)
        _is(batch, Batch, "the answer of `fetch`")
        return _exports("poller").Batch(_alerts(batch.alerts), batch.cursor, batch.more)


class _Health:
    @_guarded
    def check(self) -> None:
        instance(registered()["health"]).check()


class _PromptBuilder:
    def score(self, alert: Any) -> int:
        score = registered()["prompt_builder"].score(_alert_of(alert))
        if not isinstance(score, int) or score < 0:
            raise TypeError(f"the plugin made the answer of `score` {score!r}; it must be a whole number from 0")
        return min(score, 2**32 - 1)

    @_guarded
    def build(self, briefing: Any) -> Any:
        # Records are taken by their fields' names; only variants have to be of the contract's own classes.
        prompt = registered()["prompt_builder"].build(_briefing(briefing))
        _is(prompt, Prompt, "the answer of `build`")
        return prompt


class _Playbook:
    @_guarded
    def next(self, briefing: Any, outcomes: list[Any]) -> Any:
        playbook = _exports("playbook")
        step = registered()["playbook"].next(_briefing(briefing), [_outcome(outcome) for outcome in outcomes])
        if isinstance(step, Calls):
            return playbook.Step_Calls(step.calls)
        _is(step, Conclude, "the answer of `next`, where it is no Calls,")
        return playbook.Step_Conclude(step.report)


_EXPORTS = {
    "source": _Source,
    "parser": _Parser,
    "responder": _Responder,
    "poller": _Poller,
    "health": _Health,
    "prompt-builder": _PromptBuilder,
    "playbook": _Playbook,
}


def _payload(payload: Any) -> Payload:
    return Payload(payload.body, payload.content_type, payload.attributes)


def _is(value: Any, type_: type, what: str) -> None:
    if not isinstance(value, type_):
        article = "an" if type_.__name__[0] in "AEIOU" else "a"
        raise Error.failed(f"the plugin made {what} a {type(value).__name__}; it must be {article} {type_.__name__}")


def _alerts(alerts: list[Alert]) -> list[Any]:
    if not isinstance(alerts, Iterable):
        raise Error.failed(f"the plugin made the alerts a {type(alerts).__name__}; it must be a list")
    return [_alert(alert, at) for at, alert in enumerate(alerts)]


def _alert(alert: Alert, at: int) -> Any:
    """A value of another type than the contract's would end the instance; here it is an error that names the field."""
    _is(alert, Alert, f"alerts[{at}]")
    _is(alert.severity, Severity, f"alerts[{at}].severity")
    _is(alert.status, Status, f"alerts[{at}].status")
    for name in ("id", "title", "description"):
        _text(getattr(alert, name), f"alerts[{at}].{name}")
    for name in ("labels", "annotations"):
        _is(getattr(alert, name), dict, f"alerts[{at}].{name}")
        for key, value in getattr(alert, name).items():
            _text(key, f"a key of alerts[{at}].{name}")
            _text(value, f"alerts[{at}].{name}.{key}")
    for name in ("starts_at", "ends_at"):
        _time(getattr(alert, name), f"alerts[{at}].{name}")
    return contract.Alert(
        alert.id,
        alert.severity,
        alert.status,
        alert.title,
        alert.description,
        list(alert.labels.items()),
        list(alert.annotations.items()),
        alert.starts_at,
        alert.ends_at,
    )


def _text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise Error.failed(f"the plugin made {what} a {type(value).__name__}; it must be a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Error.failed(f"the plugin made {what} half of a character (a lone surrogate)") from None


def _time(value: Any, what: str) -> None:
    if value is not None and not (isinstance(value, int) and 0 <= value < 2**64):
        raise Error.failed(f"the plugin made {what} {value!r}; it must be whole milliseconds, from 0 to 2^64 - 1")


def _alert_of(alert: Any) -> Alert:
    return Alert(
        alert.id,
        Severity(alert.severity.value),
        Status(alert.status.value),
        alert.title,
        alert.description,
        dict(alert.labels),
        dict(alert.annotations),
        alert.starts_at,
        alert.ends_at,
    )


def _briefing(told: Any) -> Briefing:
    related = [_alert_of(alert) for alert in told.related]
    return Briefing(told.incident, told.source, _alert_of(told.alert), related, told.history, told.tools, told.now)


def _outcome(told: Any) -> Any:
    status = OutcomeStatus(told.status.value)
    return Outcome(told.call, status, told.output, told.truncated, told.exit_code, told.duration_ms)
