// Alerts that are fetched. Without a `url` in the source's file, this one only counts how often it was asked.

import { Alert, Feed, PluginError, config, http, register } from "watchkeeper-sdk";

export class @Type@ {
    /** The keys of a source's file. A key that isn't here is refused by name. */
    static config = {
        /** In seconds. */
        poll_interval: config.integer(60),
        /** Answers `[{"id": "…", "title": "…"}]`. Its host goes into `asks` of plugin.yaml, for the operator to grant. */
        url: config.text(""),
    };

    static configure(settings) {
        if (settings.poll_interval < 1) {
            throw PluginError.invalidConfig("poll_interval", "must be 1 or more");
        }
        return [new @Type@(settings.url), Feed.poll(settings.poll_interval * 1000)];
    }

    constructor(url) {
        this.url = url;
    }

    /**
     * What is new since `cursor`. It is that of the last batch that is safely stored, so whatever it stands for may be
     * acknowledged to the other side now.
     */
    fetch(cursor) {
        const times = Number(cursor ?? 0) + 1;
        const title = `@name@ was polled ${times} times`;
        const heartbeat = new Alert("heartbeat", "info", "firing", title);
        const alerts = this.url === "" ? [heartbeat] : this.ask().map(read);
        return { alerts, cursor: String(times) };
    }

    /** Says whether the other side can be reached and takes the credentials. */
    check() {
        if (this.url !== "") {
            this.ask();
        }
    }

    ask() {
        const response = http.get(this.url, { accept: "application/json" });
        if (response.status === 401 || response.status === 403) {
            throw PluginError.unauthorized(`${this.url} answered ${response.status}`);
        }
        if (response.status !== 200) {
            throw PluginError.unavailable(`${this.url} answered ${response.status}`);
        }
        return response.json();
    }
}

function read(given) {
    return new Alert(given.id, "warning", "firing", given.title);
}

register({ source: @Type@, poller: @Type@, health: @Type@ });
