// The plugin's log: lines go to the host's log under the plugin's name (up to 4 KiB each, 100 a second); outside of a
// component, in tests, to stderr.

let sink = (level, message) => globalThis.console?.error(`${level}: ${message}`);

/** Where lines go from now on. */
export function connect(log) {
    sink = log;
}

const text = (message) => String(message).toWellFormed();

/** What only somebody who follows the plugin step by step wants to know. */
export const trace = (message) => sink("trace", text(message));
/** What helps somebody who looks for a fault in the plugin. */
export const debug = (message) => sink("debug", text(message));
/** What an operator may want to know. */
export const info = (message) => sink("info", text(message));
/** What an operator should look at. */
export const warn = (message) => sink("warn", text(message));
/** What an operator has to mend. */
export const error = (message) => sink("error", text(message));
