// The contract's nouns that have something to do; the others are plain objects.

import { PluginError } from "./error.js";
import { decode } from "./utf8.js";
import { parse } from "./json.js";

/** One occurrence of one alert. */
export class Alert {
    /** `rest` may have description, labels, annotations (objects of texts), startsAt and endsAt (Unix milliseconds). */
    constructor(id, severity, status, title, rest = {}) {
        this.id = id;
        this.severity = severity;
        this.status = status;
        this.title = title;
        this.description = rest.description ?? "";
        this.labels = rest.labels ?? {};
        this.annotations = rest.annotations ?? {};
        this.startsAt = rest.startsAt ?? null;
        this.endsAt = rest.endsAt ?? null;
    }

    static fromContract(alert) {
        const labels = Object.fromEntries(alert.labels);
        const annotations = Object.fromEntries(alert.annotations);
        return new Alert(alert.id, alert.severity, alert.status, alert.title, { ...alert, labels, annotations });
    }

    /** What the host takes; `at` names the alert where something can't be taken. */
    static toContract(alert, at) {
        if (typeof alert !== "object" || alert === null) {
            throw PluginError.failed(`the plugin made ${at} ${alert}; it must be an Alert`);
        }
        for (const field of ["id", "severity", "status", "title", "description"]) {
            text(alert[field], `${at}.${field}`);
        }
        return {
            id: alert.id,
            severity: oneOf(["info", "warning", "critical"], alert.severity, `${at}.severity`),
            status: oneOf(["firing", "resolved"], alert.status, `${at}.status`),
            title: alert.title,
            description: alert.description,
            labels: pairs(alert.labels, `${at}.labels`),
            annotations: pairs(alert.annotations, `${at}.annotations`),
            startsAt: time(alert.startsAt, `${at}.startsAt`),
            endsAt: time(alert.endsAt, `${at}.endsAt`),
        };
    }
}

function text(value, what) {
    if (typeof value !== "string") {
        throw PluginError.failed(`the plugin made ${what} a ${typeof value}; it must be a text`);
    }
    if (!value.isWellFormed()) {
        throw PluginError.failed(`the plugin made ${what} half of a character (a lone surrogate)`);
    }
    return value;
}

function oneOf(names, value, what) {
    if (!names.includes(value)) {
        throw PluginError.failed(`the plugin made ${what} ${value}; it must be one of ${names.join(", ")}`);
    }
    return value;
}

function pairs(object, what) {
    if (typeof object !== "object" || object === null || Array.isArray(object)) {
        throw PluginError.failed(`the plugin made ${what} ${object}; it must be an object of texts`);
    }
    const entries = Object.entries(object);
    for (const [key, value] of entries) {
        text(key, `a key of ${what}`);
        text(value, `${what}.${key}`);
    }
    return entries;
}

/** The contract's times are 64 bits wide; the sandbox takes numbers, which are exact to 2^53 alone. */
export function time(value, what) {
    if (value === null || value === undefined) {
        return null;
    }
    if (!Number.isSafeInteger(value) || value < 0) {
        throw PluginError.failed(`the plugin made ${what} ${value}; it must be whole milliseconds, from 0 to 2^53 - 1`);
    }
    return value;
}

/** What arrived, as it arrived. */
export class Payload {
    constructor(body, contentType = null, attributes = []) {
        this.body = body;
        this.contentType = contentType;
        this.attributes = attributes;
    }

    /** The body as text. */
    text() {
        return decode(this.body);
    }

    /** The body as JSON. */
    json() {
        return parse(this.text());
    }

    /** The value of an attribute: an HTTP header (names are in lower case) or a message's metadata. */
    attribute(name) {
        return this.attributes.find(([key]) => key === name)?.[1] ?? null;
    }
}

/** How a source wants to be fed. */
export const Feed = {
    /** By POSTs to `path`. */
    webhook: (path) => ({ tag: "webhook", val: { path } }),
    /** By `fetch`, every `intervalMs` milliseconds, at least 1000. */
    poll: (intervalMs) => ({ tag: "poll", val: { intervalMs } }),
    /** By one of the host's own transports, such as `nats`, with that transport's settings. */
    subscription: (transport, settings) => ({
        tag: "subscription",
        val: { transport, settings: Object.entries(settings) },
    }),
};

/** A playbook's next step. */
export const Step = {
    /** Make these calls, then ask again. */
    calls: (calls) => ({ tag: "calls", val: calls }),
    conclude: (report) => ({ tag: "conclude", val: { rootCause: null, findings: [], recommendations: [], ...report } }),
};
