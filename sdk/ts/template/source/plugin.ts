// Alerts that come as `{"alerts": [{"id": "…", "title": "…"}]}`.

import { Alert, Feed, type Payload, PluginError, config, log, register, time } from "watchkeeper-sdk";

export class @Type@ {
    /** The keys of a source's file. A key that isn't here is refused by name. */
    static config = {
        webhook_path: config.text("/alerts/@name@"),
    };

    static configure(settings: config.Settings<typeof @Type@.config>): [@Type@, Feed] {
        if (!settings.webhook_path.startsWith("/")) {
            throw PluginError.invalidConfig("webhook_path", "must begin with `/`");
        }
        return [new @Type@(), Feed.webhook(settings.webhook_path)];
    }

    parse(payload: Payload): Alert[] {
        const alerts = payload.json()?.alerts;
        if (!Array.isArray(alerts)) {
            throw PluginError.invalidPayload("alerts: must be a list");
        }
        log.info(`${alerts.length} alerts`);
        return alerts.map((given: unknown, at: number) => alert(given, `alerts[${at}]`));
    }
}

/** One alert of the list; a mistake is named with its place. */
function alert(given: any, at: string): Alert {
    const text = (key: string): string => {
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
    const labels: Record<string, string> = typeof given?.host === "string" ? { host: given.host } : {};
    const [id, title] = [text("id"), text("title")];
    const startsAt = typeof given?.since === "string" ? time.read(given.since, `${at}.since`) : null;
    return new Alert(id, severity, status, title, { labels, startsAt });
}

register({ source: @Type@, parser: @Type@ });
