"""The briefing for a model, for alerts about disks."""

import json

from watchkeeper_sdk import Alert, Briefing, Call, Prompt, PromptBuilder, register

DF = Call("bash", json.dumps({"command": "df -h"}), "which file system is full")


class @Type@(PromptBuilder):
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


register(prompt_builder=@Type@)
