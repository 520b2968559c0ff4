// Alerts that are fetched: `GET url?after=cursor` answers `{"alerts": [{"id": "…", "title": "…"}], "next": "…", "more": false}`,
// and `next` is the cursor from then on.

import { Alert, Feed, PluginError, config, http, register, time } from "watchkeeper-sdk";

export class @Type@ {
    /** The keys of a source's file. A key that isn't here is refused by name. */
    static config = {
        /** In seconds. */
        poll_interval: config.integer(60),
        /** Its host goes into `asks` of plugin.yaml, for the operator to grant. */
        url: config.text(),
        /** `${NAME}` in the file is a placeholder here, which the host replaces in the request's header. */
        token: config.text(""),
    };

    static configure(settings) {
        if (settings.poll_interval < 1) {
            throw PluginError.invalidConfig("poll_interval", "must be 1 or more");
        }
        if (!/^https?:\/\//.test(settings.url)) {
            throw PluginError.invalidConfig("url", "must begin with http:// or https://");
        }
        return [new @Type@(settings.url, settings.token), Feed.poll(settings.poll_interval * 1000)];
    }

    constructor(url, token) {
        this.url = url;
        this.token = token;
    }

    /**
     * What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
     * acknowledged to the other side now.
     */
    fetch(cursor) {
        const page = this.ask(cursor).json();
        if (!Array.isArray(page?.alerts)) {
            throw PluginError.invalidPayload("alerts: must be a list");
        }
        const alerts = page.alerts.map((given, at) => alert(given, `alerts[${at}]`));
        const next = page.next ?? cursor;
        if (next !== null && typeof next !== "string") {
            throw PluginError.invalidPayload("next: must be a text");
        }
        return { alerts, cursor: next, more: page.more === true };
    }

    /** Whether the other side can be reached and takes the credentials. */
    check() {
        this.ask(null);
    }

    ask(cursor) {
        const headers = { accept: "application/json" };
        if (this.token !== "") {
            headers.authorization = `Bearer ${this.token}`;
        }
        const query = cursor === null ? {} : { after: cursor };
        return http.get(this.url, headers, query).success();
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

register({ source: @Type@, poller: @Type@, health: @Type@ });
