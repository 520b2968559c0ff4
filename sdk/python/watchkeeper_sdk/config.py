"""From a source file's keys to a plugin's dataclass, with errors that name the key and the remedy."""

import dataclasses
import json
import types
import typing
from enum import Enum
from typing import Any

from .error import Error


def read(config: type | None, config_json: str) -> Any:
    """The keys as `config`, which is a dataclass; None for a source that has none."""
    try:
        values = json.loads(config_json)
    except ValueError as error:
        raise Error.invalid_config(None, f"not JSON: {error}") from None
    if not isinstance(values, dict):
        raise Error.invalid_config(None, "must be an object of keys and values")
    if config is None:
        config = dataclasses.make_dataclass("NoKeys", [])
    return _dataclass(config, values, "")


def _dataclass(config: type, values: dict[str, Any], above: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(config)}
    hints = typing.get_type_hints(config)
    for key in values:
        if key not in fields:
            known = f"known keys: {', '.join(fields)}" if fields else "this plugin has none"
            raise Error.invalid_config(above + key, f"unknown key; {known}")
    arguments = {}
    for name, field in fields.items():
        if values.get(name) is not None:
            arguments[name] = _value(hints[name], values[name], above + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise Error.invalid_config(above + name, "missing; it has no default")
    return config(**arguments)


def _value(hint: Any, value: Any, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _value(next(kind for kind in arguments if kind is not type(None)), value, key)
    if hint is Any:
        return value
    if origin is list and isinstance(value, list):
        return [_value(arguments[0], item, f"{key}[{at}]") for at, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {name: _value(arguments[1], item, f"{key}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _dataclass(hint, value, f"{key}.")
    if isinstance(hint, type) and issubclass(hint, Enum) and value in [one.value for one in hint]:
        return hint(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # A bool is an int for Python, and for nobody who writes YAML.
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise Error.invalid_config(key, f"must be {_words(hint)}, not `{json.dumps(value, ensure_ascii=False)}`")


def _words(hint: Any) -> str:
    simple = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    if hint in simple:
        return simple[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(f"`{one.value}`" for one in hint)
    return "a list" if typing.get_origin(hint) is list else "an object of keys and values"
