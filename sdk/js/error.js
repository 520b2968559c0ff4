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
        return { tag: "failed", val: mistake(error) };
    }
    const reason = error.message;
    switch (error.kind) {
        case "invalid-config":
            return { tag: "invalid-config", val: { key: error.key, reason } };
        case "unavailable":
            return { tag: "unavailable", val: { reason, retryAfter: error.retryAfter } };
        default:
            return { tag: error.kind, val: reason };
    }
}

/** An error that nobody meant, with the place where it happened. */
function mistake(error) {
    if (!(error instanceof Error)) {
        return `the plugin threw ${typeof error}: ${String(error)}`;
    }
    const place = (error.stack ?? "").trim().split("\n").slice(0, 3).map((line) => line.trim()).join(" ");
    return `${error.name}: ${error.message} (${place})`;
}
