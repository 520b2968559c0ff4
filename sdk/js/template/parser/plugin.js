// Alerts that come as `{"alerts": [{"id": "…", "title": "…"}]}`, over whatever transport a source names.

import { Alert, PluginError, log, register, time } from "watchkeeper-sdk";

export class @Type@ {
    parse(payload) {
        const alerts = payload.json()?.alerts;
        if (!Array.isArray(alerts)) {
            throw PluginError.invalidPayload("alerts: must be a list");
        }
        log.info(`${alerts.length} alerts`);
        return alerts.map((given, at) => alert(given, `alerts[${at}]`));
    }
}

/** One alert of the list; a mistake is named with its place. */
function alert(given, at) {
    const text = (key) => {
        if (typeof given?.[key] !== "string") {
            throw PluginError.invalidPayload(`${at}.${key}: must be a text`);
        }
        return given[key];
    };
    const severity = given?.severity ?? "warning";
    if (!["info", "warning", "critical"].includes(severity)) {
        throw PluginError.invalidPayload(`${at}.severity: must be info, warning or critical`);
    }
    const status = given?.resolved === true ? "resolved" : "firing";
    const labels = typeof given?.host === "string" ? { host: given.host } : {};
    const [id, title] = [text("id"), text("title")];
    const startsAt = typeof given?.since === "string" ? time.read(given.since, `${at}.since`) : null;
    return new Alert(id, severity, status, title, { labels, startsAt });
}

register({ parser: @Type@ });
