"""The plugin's log: `log.info("3 alerts")`. Lines go to the host's log under the plugin's name (up to 4 KiB each, 100 a
second); outside of a component, in tests, to stderr."""

import sys
from collections.abc import Callable


def _to_stderr(level: str, message: str) -> None:
    print(f"{level}: {message}", file=sys.stderr)


_sink: Callable[[str, str], None] = _to_stderr


def connect(sink: Callable[[str, str], None]) -> None:
    """Where lines go from now on."""
    global _sink
    _sink = sink


def trace(message: str) -> None:
    """What only somebody who follows the plugin step by step wants to know."""
    _sink("TRACE", message)


def debug(message: str) -> None:
    """What helps somebody who looks for a fault in the plugin."""
    _sink("DEBUG", message)


def info(message: str) -> None:
    """What an operator may want to know."""
    _sink("INFO", message)


def warn(message: str) -> None:
    """What an operator should look at."""
    _sink("WARN", message)


def error(message: str) -> None:
    """What an operator has to mend."""
    _sink("ERROR", message)
