"""What is known when an investigation begins, and what comes of it."""

from dataclasses import dataclass, field
from enum import Enum

from .types import Alert


@dataclass
class Tool:
    """A tool that calls may name; `input_schema` is JSON."""

    name: str
    description: str
    input_schema: str


@dataclass
class Call:
    """A step that a brain proposes; `input` is a JSON object. The gate decides whether it runs."""

    tool: str
    input: str
    purpose: str


class OutcomeStatus(Enum):
    """`RAN` also where a command ended with another code than 0."""

    RAN = 0
    FAILED = 1
    TIMED_OUT = 2
    REFUSED = 3
    INTERRUPTED = 4


@dataclass
class Outcome:
    """What became of a call."""

    call: Call
    status: OutcomeStatus
    output: str
    truncated: bool = False
    exit_code: int | None = 0
    duration_ms: int = 0


@dataclass
class Evidence:
    """Words or figures in the output of the outcome with this index, from 0."""

    outcome: int
    excerpt: str


@dataclass
class Finding:
    statement: str
    evidence: list[Evidence] = field(default_factory=list)


@dataclass
class Report:
    """What was found; `confidence` is 0 to 1, and below the configured threshold a human is called."""

    summary: str
    confidence: float
    root_cause: str | None = None
    findings: list[Finding] = field(default_factory=list)
    recommendations: list[str] = field(default_factory=list)


@dataclass
class PastReport:
    """A past investigation of an incident that resembles this one."""

    incident: str
    title: str
    ended_at: int
    report: Report


@dataclass
class Briefing:
    """Everything that is known at the start."""

    incident: str
    source: str
    alert: Alert
    related: list[Alert]
    history: list[PastReport]
    tools: list[Tool]
    now: int


@dataclass
class Prompt:
    """Standing instructions for a model, its task, and calls to make before it is first asked."""

    instructions: str
    task: str
    first_steps: list[Call] = field(default_factory=list)


@dataclass
class Calls:
    """Make these calls, one after the other, then ask again."""

    calls: list[Call]


@dataclass
class Conclude:
    report: Report


Step = Calls | Conclude
