// The briefing for a model, for alerts about disks.

import { type Alert, type Briefing, type Call, type Prompt, register } from "watchkeeper-sdk";

const DF: Call = {
    tool: "bash",
    input: JSON.stringify({ command: "df -h" }),
    purpose: "which file system is full",
};

export class @Type@ {
    static score(alert: Alert): number {
        return alert.title.toLowerCase().includes("disk") ? 60 : 0;
    }

    static build(briefing: Briefing): Prompt {
        return {
            instructions: "Find out what fills the disk, and since when. Change nothing.",
            task: `${briefing.alert.title} (source ${briefing.source}). Which file system is full, and what filled it?`,
            firstSteps: [DF],
        };
    }
}

register({ promptBuilder: @Type@ });
