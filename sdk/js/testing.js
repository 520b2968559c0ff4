// Plugins under test, in Node: called as the host calls them, with every alert held to the contract's rules.

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { join } from "node:path";

import { read } from "./config.js";
import { PluginError, toContract } from "./error.js";
import { Alert, Payload } from "./types.js";

/** Configures a source with the keys of its file: `source(Mine, { webhook_path: "/x" })`. */
export function source(type, keys = {}) {
    const [plugin] = type.configure(read(type.config ?? {}, JSON.stringify(keys)));
    return plugin;
}

/** A payload of a text or of bytes. */
export const payload = (body) => new Payload(typeof body === "string" ? new TextEncoder().encode(body) : body);

/** The alerts that a plugin makes of a body; throws where one breaks a rule of the contract. */
export function parse(plugin, body) {
    const alerts = plugin.parse(payload(body));
    alerts.forEach((alert, at) => hold(Alert.toContract(alert, `alerts[${at}]`), `alerts[${at}]`));
    return alerts;
}

function hold(alert, at) {
    length(`${at}.id`, alert.id, 1, 512);
    length(`${at}.title`, alert.title, 1, 1024);
    length(`${at}.description`, alert.description, 0, 32 * 1024);
    for (const [what, pairs, longest] of [["labels", alert.labels, 4096], ["annotations", alert.annotations, 32 * 1024]]) {
        if (pairs.length > 128) {
            throw new Error(`${at}: ${pairs.length} ${what}, more than 128`);
        }
        for (const [key, value] of pairs) {
            length(`${at}: a key of ${what}`, key, 1, 256);
            length(`${at}.${what}.${key}`, value, 0, longest);
        }
    }
    if (alert.status === "firing" && alert.endsAt !== null) {
        throw new Error(`${at}: endsAt on a firing alert`);
    }
}

function length(what, text, least, most) {
    const bytes = new TextEncoder().encode(text).length;
    if (bytes < least || bytes > most) {
        throw new Error(`${what} has ${bytes} bytes, not ${least} to ${most}`);
    }
}

/**
 * Parses every sample in `folder` (`name.json`) and compares with `name.expected.json`; those with a `name.mock.yaml`, for which only
 * the host has what they want, are left to `watchkeeper plugin test`. UPDATE_EXPECT=1 writes what comes out; read the difference.
 */
export function samples(plugin, folder) {
    const files = readdirSync(folder);
    const names = files.filter((name) => isPayload(name, files)).sort();
    if (names.length === 0) {
        throw new Error(`${folder}: no samples`);
    }
    const wrong = names.map((name) => sample(plugin, folder, name)).filter((difference) => difference !== null);
    if (wrong.length > 0) {
        throw new Error(wrong.join("\n"));
    }
}

function isPayload(name, files) {
    const isOther = name.startsWith(".") || /\.(expected\.json|mock\.yaml|incident\.yaml)$/.test(name);
    return !isOther && !files.includes(`${stem(name)}.mock.yaml`);
}

const stem = (name) => name.replace(/\.[^.]*$/, "");

function sample(plugin, folder, name) {
    const got = outcome(plugin, readFileSync(join(folder, name)));
    const path = join(folder, `${stem(name)}.expected.json`);
    if (process.env.UPDATE_EXPECT !== undefined) {
        writeFileSync(path, `${JSON.stringify(got, null, 2)}\n`);
    }
    const expected = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
    return isDeepStrictEqual(got, expected)
        ? null
        : `${name}:\n  got      ${JSON.stringify(got)}\n  expected ${JSON.stringify(expected)}`;
}

function outcome(plugin, body) {
    try {
        return parse(plugin, body).map(asJson);
    } catch (error) {
        if (!(error instanceof PluginError)) {
            throw error;
        }
        return { error: toContract(error).tag, reason: error.message };
    }
}

/** An alert as the samples write it: absent times are left out. */
export function asJson(alert) {
    const { startsAt, endsAt, ...json } = alert;
    for (const [key, time] of [["starts_at", startsAt], ["ends_at", endsAt]]) {
        if (time !== null && time !== undefined) {
            json[key] = time;
        }
    }
    return json;
}
