// A diagnosis of full disks, without a model.

import { Step, register } from "watchkeeper-sdk";

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

    /** Keeps no state: the same outcomes give the same step. */
    static next(briefing, outcomes) {
        const last = outcomes.at(-1);
        if (last === undefined) {
            return Step.calls([DF]);
        }
        const found = last.status === "ran" ? fullest(last.output) : null;
        const unknown = { summary: "df answered nothing that could be read.", confidence: 0.1 };
        return Step.conclude(found === null ? unknown : full(outcomes.length - 1, found));
    }
}

/** The line with the highest percentage, and that. */
function fullest(output) {
    const lines = output.split("\n").map((line) => line.trim());
    const found = lines.map((line) => ({ line, percent: Number(/\b(\d+)%/.exec(line)?.[1] ?? -1) }));
    const best = found.reduce((best, one) => (one.percent > best.percent ? one : best));
    return best.percent < 0 ? null : best;
}

function full(outcome, { line, percent }) {
    const statement = `The fullest file system is at ${percent} %.`;
    return {
        summary: statement,
        findings: [{ statement, evidence: [{ outcome, excerpt: line }] }],
        recommendations: ["Free space, or grow the file system."],
        confidence: percent >= 90 ? 0.8 : 0.4,
    };
}

register({ promptBuilder: @Type@, playbook: @Type@ });
