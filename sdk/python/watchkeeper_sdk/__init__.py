"""Write a Watchkeeper plugin in Python.

A plugin is a WebAssembly component. Its classes are any of those here (`Source`, `Parser`, `Responder`, `Poller`, `Health`,
`PromptBuilder`, `Playbook`), and `register` names them once. README.md goes from nothing to a plugin. Times are Unix
milliseconds; what each field may hold is written in the contract, `watchkeeper.wit`.
"""

from . import http, log, time
from .error import Error
from .investigation import (
    Briefing,
    Call,
    Calls,
    Conclude,
    Evidence,
    Finding,
    Outcome,
    OutcomeStatus,
    PastReport,
    Prompt,
    Report,
    Step,
    Tool,
)
from .plugin import Health, Parser, Playbook, Poller, PromptBuilder, Responder, Source, register
from .types import Alert, Batch, Feed, Payload, Reply, Severity, Status

__all__ = [
    "Alert",
    "Batch",
    "Briefing",
    "Call",
    "Calls",
    "Conclude",
    "Error",
    "Evidence",
    "Feed",
    "Finding",
    "Health",
    "Outcome",
    "OutcomeStatus",
    "Parser",
    "PastReport",
    "Payload",
    "Playbook",
    "Poller",
    "Prompt",
    "PromptBuilder",
    "Reply",
    "Report",
    "Responder",
    "Severity",
    "Source",
    "Status",
    "Step",
    "Tool",
    "http",
    "log",
    "register",
    "time",
]
