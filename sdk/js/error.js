// The contract's `error`: sorted by who can act on it.

/** What a plugin throws where it can't answer. Anything else that it throws is a mistake of its own: `failed`. */
export class PluginError extends Error {
    /** `invalid-config`, `invalid-payload`, `unauthorized`, `unavailable` or `failed`. */
    kind;
    /** The key of the configuration that is wrong. */
    key = null;
    /** In milliseconds, where something is unavailable. */
    retryAfter = null;

    constructor(kind, reason) {
        super(reason);
        this.name = "PluginError";
        this.kind = kind;
    }

    /** The operator mends `key` (dotted where nested; null: the whole) of the source's file. */
    static invalidConfig(key, reason) {
        const error = new PluginError("invalid-config", reason);
        error.key = key;
        return error;
    }

    /** The sender mends what it sends. Say where and what: `alerts[2].labels: alertname is missing`. */
    static invalidPayload(reason) {
        return new PluginError("invalid-payload", reason);
    }

    /** Somebody's credentials are wrong. */
    static unauthorized(reason) {
        return new PluginError("unauthorized", reason);
    }

    /** Something else is down for now. */
    static unavailable(reason, retryAfter = null) {
        const error = new PluginError("unavailable", reason);
        error.retryAfter = retryAfter;
        return error;
    }

    /** The plugin itself can't go on: the payload is kept as a dead letter and can be replayed. */
    static failed(reason) {
        return new PluginError("failed", reason);
    }
}

/** The contract's value for whatever was thrown. */
export function toContract(error) {
    if (!(error instanceof PluginError)) {
        return { tag: "failed", val: mistake(error).toWellFormed() };
    }
    const reason = error.message.toWellFormed();
    switch (error.kind) {
        case "invalid-config":
            return { tag: "invalid-config", val: { key: error.key, reason } };
        case "unavailable":
            return { tag: "unavailable", val: { reason, retryAfter: error.retryAfter } };
        default:
            return { tag: error.kind, val: reason };
    }
}

/** An error that nobody meant, with the plugin's own lines that led to it, the innermost first. */
function mistake(error) {
    if (!(error instanceof Error)) {
        return `the plugin threw a ${typeof error}, which has no place: ${String(error)}`;
    }
    const frames = (error.stack ?? "").trim().split("\n").map((frame) => frame.trim());
    const own = frames.map(ownPlace).filter((place) => place !== null);
    const places = own.length > 0 ? own : frames;
    return `${error.name}: ${error.message}${remedy(error.message)} (${places.slice(0, 3).join(", ")})`;
}

/** What browsers and Node have, and a plugin has otherwise. */
const INSTEAD = {
    console: "`log` has `info` and its like",
    fetch: "`http` has `get` and its like",
    XMLHttpRequest: "`http` has `get` and its like",
    TextDecoder: "`payload.text()` decodes",
    require: "`import` it; esbuild bundles it",
    process: "the source's file has what differs from place to place",
    setTimeout: "nothing waits here: answer, and be called again",
};

function remedy(message) {
    if (message === "out of memory") {
        return ", it needs more than its limit (limits.memory_mib)";
    }
    const [, name] = /^'?(\w+)'? is not defined$/.exec(message) ?? [];
    return Object.hasOwn(INSTEAD, name ?? "") ? `: ${INSTEAD[name]}` : "";
}

/** As the author knows it: the build says which line of which file each line of its one module is of. */
function ownPlace(frame) {
    const [, name, line] = /^at (.*) \(.*module\.js:(\d+):\d+\)$/.exec(frame) ?? [];
    const place = globalThis.watchkeeperLines?.[line];
    return place === undefined ? null : `in ${name} (${place})`;
}
