// `register`: from a plugin's classes to a component's exports.

const EXPORTS = {
    source: ["configure"],
    parser: ["parse"],
    responder: ["respond"],
    poller: ["fetch"],
    health: ["check"],
    promptBuilder: ["score", "build"],
    playbook: ["next"],
};

/** What belongs to a source is called on the value that its `configure` made. */
const ON_INSTANCE = ["parser", "responder", "poller", "health"];

let registered = null;

/**
 * Says what the plugin exports, each with the class that does it. Once in a plugin. With a `source`, `parser`,
 * `responder`, `poller` and `health` must be that same class; without one, each is made with `new` and no argument.
 */
export function register(classes) {
    if (registered !== null) {
        throw new Error("register: called a second time");
    }
    for (const [name, type] of Object.entries(classes)) {
        if (!Object.hasOwn(EXPORTS, name)) {
            throw new Error(`register: \`${name}\` is none of: ${Object.keys(EXPORTS).join(", ")}`);
        }
        const on = ON_INSTANCE.includes(name) ? type?.prototype : type;
        const missing = EXPORTS[name].find((method) => typeof on?.[method] !== "function");
        if (missing !== undefined) {
            const place = on === type ? "static method" : "method";
            throw new Error(`register: the class of \`${name}\` has no ${place} \`${missing}\``);
        }
        if (ON_INSTANCE.includes(name) && classes.source !== undefined && type !== classes.source) {
            throw new Error(`register: \`${name}\` must be the class of \`source\`, which has the configuration`);
        }
    }
    registered = classes;
}

/** What was registered, for the component and for tests. */
export function plugin() {
    if (registered === null) {
        throw new Error("the plugin calls no `register({ … })`");
    }
    return registered;
}
