// Checks that a monitor found up or down: `{"checks": [{"id": "db-1", "name": "database", "state": "down"}]}`. The same
// plugin in each language that has an SDK, held to `tests/conformance/uptime.json`.

import { Alert, Feed, PluginError, config, log, register } from "watchkeeper-sdk";

export class Uptime {
    static config = {
        webhook_path: config.text("/alerts/uptime"),
        /** Names of checks to leave out. */
        ignore: config.texts([]),
        /** A check that failed at least so often is critical. */
        critical_after: config.integer(3),
    };

    static configure(settings) {
        if (!settings.webhook_path.startsWith("/")) {
            throw PluginError.invalidConfig("webhook_path", "must begin with `/`");
        }
        if (settings.critical_after < 1) {
            throw PluginError.invalidConfig("critical_after", "must be at least 1");
        }
        return [new Uptime(settings), Feed.webhook(settings.webhook_path)];
    }

    constructor(settings) {
        this.ignore = settings.ignore;
        this.criticalAfter = settings.critical_after;
    }

    /** A monitor that is set up sends a challenge, and wants it back. */
    respond(payload) {
        let challenge;
        try {
            challenge = payload.json()?.challenge;
        } catch {
            return null; // Then it's for `parse` to say what is wrong.
        }
        return typeof challenge === "string"
            ? { status: 200, headers: { "content-type": "text/plain" }, body: challenge }
            : null;
    }

    parse(payload) {
        const checks = payload.json()?.checks;
        if (!Array.isArray(checks)) {
            throw PluginError.invalidPayload("checks: must be a list");
        }
        log.info(`${checks.length} checks`);
        const alerts = checks.map((check, at) => this.alert(check, `checks[${at}]`));
        return alerts.filter((alert) => !this.ignore.includes(alert.labels.check));
    }

    alert(check, at) {
        const id = text(check?.id, `${at}.id`);
        const name = text(check.name, `${at}.name`);
        const state = text(check.state, `${at}.state`);
        const status = statusOf(state, `${at}.state`);
        const failures = count(check.failures ?? 1, `${at}.failures`);
        const since = check.since ?? null;
        return new Alert(id, this.severity(state, failures), status, `${name} is ${state}`, {
            startsAt: since === null ? null : count(since, `${at}.since`) * 1000,
            description: text(check.message ?? "", `${at}.message`),
            labels: { check: name, ...tags(check.tags ?? {}, `${at}.tags`) },
            annotations: { failures: String(failures) },
        });
    }

    severity(state, failures) {
        if (state === "up") {
            return "info";
        }
        return failures >= this.criticalAfter ? "critical" : "warning";
    }

    check() {
        if (this.ignore.includes("*")) {
            throw PluginError.failed("ignore: * leaves nothing to watch");
        }
    }
}

function statusOf(state, at) {
    switch (state) {
        case "down":
            return "firing";
        case "up":
            return "resolved";
        default:
            throw PluginError.invalidPayload(`${at}: \`${state}\` is neither \`down\` nor \`up\``);
    }
}

function text(value, at) {
    if (typeof value !== "string") {
        throw PluginError.invalidPayload(`${at}: must be a text`);
    }
    return value;
}

/** Beyond 2^53, not every language's numbers are whole. */
function count(value, at) {
    if (!Number.isSafeInteger(value) || value < 0) {
        throw PluginError.invalidPayload(`${at}: must be a whole number`);
    }
    return value;
}

function tags(value, at) {
    const isObject = typeof value === "object" && !Array.isArray(value);
    if (!isObject || Object.values(value).some((tag) => typeof tag !== "string")) {
        throw PluginError.invalidPayload(`${at}: must be an object of texts`);
    }
    return value;
}

register({ source: Uptime, parser: Uptime, responder: Uptime, health: Uptime });
