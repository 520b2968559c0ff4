// The briefing for a model, for alerts about disks.

import { register } from "watchkeeper-sdk";

const DF = {
    tool: "bash",
    input: JSON.stringify({ command: "df -h" }),
    purpose: "which file system is full",
};

export class @Type@ {
    static score(alert) {
        return alert.title.toLowerCase().includes("disk") ? 60 : 0;
    }

    static build(briefing) {
        return {
            instructions: "Find out what fills the disk, and since when. Change nothing.",
            task: `${briefing.alert.title} (source ${briefing.source}). Which file system is full, and what filled it?`,
            firstSteps: [DF],
        };
    }
}

register({ promptBuilder: @Type@ });
