// The component around a plugin: what the host calls, made of what the plugin registered. The build's own entry imports this;
// plugins don't.

import { read } from "./config.js";
import { PluginError, toContract } from "./error.js";
import * as http from "./http.js";
import * as log from "./log.js";
import { plugin } from "./register.js";
import { Alert, Payload, time } from "./types.js";

/**
 * Connects the SDK to the host and makes the exports. `declared` is what plugin.yaml says that the component exports; it
 * must be what the plugin registered.
 */
export function component(declared, host) {
    log.connect(host.log);
    if (host.http !== undefined) {
        http.connect(host.http);
    }
    const classes = plugin();
    const registered = Object.keys(classes).map(kebab);
    const silent = registered.filter((name) => !declared.includes(name));
    const missing = declared.filter((name) => !registered.includes(name));
    if (silent.length + missing.length > 0) {
        throw new Error(
            `plugin.yaml exports [${declared.join(", ")}] and the plugin registers [${registered.join(", ")}]; they must be the same`,
        );
    }
    return exportsOf(classes);
}

const kebab = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

function exportsOf(classes) {
    let configured = null;
    const instance = (type) => {
        if (classes.source === undefined) {
            return new type();
        }
        if (configured === null) {
            throw PluginError.failed("called before `configure`");
        }
        return configured;
    };
    return {
        source: {
            configure: (json) =>
                guarded(() => {
                    const config = read(classes.source.config ?? {}, json);
                    const [plugin, feed] = made(classes.source.configure(config), Array.isArray, CONFIGURED);
                    configured = plugin;
                    return made(feed, (feed) => typeof feed?.tag === "string", CONFIGURED);
                }),
        },
        parser: { parse: (payload) => guarded(() => alerts(instance(classes.parser).parse(received(payload)))) },
        responder: {
            respond: (payload) => guarded(() => reply(instance(classes.responder).respond(received(payload)))),
        },
        poller: {
            fetch: (cursor) => guarded(() => batch(made(instance(classes.poller).fetch(cursor ?? null), isObject, BATCH))),
        },
        health: { check: () => guarded(() => void instance(classes.health).check()) },
        promptBuilder: {
            // The contract has no place for an error here; what is thrown ends the call, and is told.
            score: (alert) => made(classes.promptBuilder.score(Alert.fromContract(alert)), isScore, SCORE),
            build: (told) => guarded(() => prompt(classes.promptBuilder.build(briefing(told)))),
        },
        playbook: {
            next: (told, outcomes) =>
                guarded(() => made(classes.playbook.next(briefing(told), outcomes), (step) => isObject(step) && "tag" in step, STEP)),
        },
    };
}

function guarded(call) {
    try {
        return call();
    } catch (error) {
        throw toContract(error);
    }
}

const received = ({ body, contentType, attributes }) => new Payload(body, contentType, attributes);

/** What a plugin answers, where it is what it must be. */
function made(value, fits, what) {
    if (!fits(value)) {
        throw PluginError.failed(`the plugin made ${what.of} ${shown(value)}; it must be ${what.must}`);
    }
    return value;
}

const CONFIGURED = { of: "the answer of `configure`", must: "[plugin, feed], as in [new Mine(), Feed.webhook(\"/alerts/mine\")]" };
const ALERTS = { of: "the alerts", must: "a list" };
const BATCH = { of: "the answer of `fetch`", must: "{ alerts, cursor, more }" };
const SCORE = { of: "the answer of `score`", must: "a whole number from 0" };
const PROMPT = { of: "the answer of `build`", must: "{ instructions, task, firstSteps }" };
const STEP = { of: "the answer of `next`", must: "Step.calls(…) or Step.conclude(…)" };

const shown = (value) => (typeof value === "object" && value !== null ? "an object" : String(value));

const isScore = (score) => Number.isInteger(score) && score >= 0 && score < 2 ** 32;

const isObject = (value) => typeof value === "object" && value !== null;

const alerts = (list) => made(list, Array.isArray, ALERTS).map((alert, at) => Alert.toContract(alert, `alerts[${at}]`));

const batch = ({ alerts: list, cursor = null, more = false }) => ({ alerts: alerts(list), cursor, more });

const prompt = (prompt) => ({ firstSteps: [], ...made(prompt, isObject, PROMPT) });

function reply(reply) {
    if (reply === null || reply === undefined) {
        return null;
    }
    return { status: reply.status, headers: Object.entries(reply.headers ?? {}), body: http.bytes(reply.body ?? "") };
}

function briefing(told) {
    const alert = Alert.fromContract(told.alert);
    return { ...told, alert, related: told.related.map(Alert.fromContract) };
}
