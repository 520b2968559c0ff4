"""A diagnosis of full disks, without a model."""

import json
import re

from watchkeeper_sdk import (
    Alert,
    Briefing,
    Call,
    Calls,
    Conclude,
    Evidence,
    Finding,
    Outcome,
    OutcomeStatus,
    Playbook,
    Prompt,
    PromptBuilder,
    Report,
    Step,
    register,
)

DF = Call("bash", json.dumps({"command": "df -h"}), "which file system is full")


class @Type@(PromptBuilder, Playbook):
    @staticmethod
    def score(alert: Alert) -> int:
        return 60 if "disk" in alert.title.lower() else 0

    @staticmethod
    def build(briefing: Briefing) -> Prompt:
        alert, source = briefing.alert, briefing.source
        return Prompt(
            instructions="Find out what fills the disk, and since when. Change nothing.",
            task=f"{alert.title} (source {source}). Which file system is full, and what filled it?",
            first_steps=[DF],
        )

    @staticmethod
    def next(briefing: Briefing, outcomes: list[Outcome]) -> Step:
        """Keeps no state: the same outcomes give the same step."""
        if not outcomes:
            return Calls([DF])
        last = outcomes[-1]
        found = fullest(last.output) if last.status is OutcomeStatus.RAN else None
        if found is None:
            return Conclude(Report("df answered nothing that could be read.", confidence=0.1))
        return Conclude(full(len(outcomes) - 1, *found))


def fullest(output: str) -> tuple[str, int] | None:
    """The line with the highest percentage, and that."""
    lines = [line.strip() for line in output.splitlines()]
    found = [(line, int(match[1])) for line in lines if (match := re.search(r"\b(\d+)%", line))]
    return max(found, key=lambda one: one[1], default=None)


def full(outcome: int, line: str, percent: int) -> Report:
    statement = f"The fullest file system is at {percent} %."
    return Report(
        summary=statement,
        findings=[Finding(statement, [Evidence(outcome, line)])],
        recommendations=["Free space, or grow the file system."],
        confidence=0.8 if percent >= 90 else 0.4,
    )


register(prompt_builder=@Type@, playbook=@Type@)
