// A source file's keys: what each may hold, and errors that name the key and the remedy.
//
// `{ webhook_path: text("/alerts/mine"), token: text() }`: a key without a default must be there.

import { PluginError } from "./error.js";

const key = (what, fits) => (fallback) => ({ what, fits, fallback });

const isText = (value) => typeof value === "string";

export const text = key("a text", isText);
export const texts = key("a list of texts", (value) => Array.isArray(value) && value.every(isText));
export const integer = key("a whole number", Number.isSafeInteger);
export const number = key("a number", (value) => typeof value === "number");
export const boolean = key("true or false", (value) => typeof value === "boolean");
/** Anything that YAML can say; the plugin looks at it itself. */
export const any = key("anything", () => true);
export const oneOf = (names, fallback) =>
    key(`one of ${names.map((name) => `\`${name}\``).join(", ")}`, (value) => names.includes(value))(fallback);

/** Reads the source file's keys by what a plugin knows of them. */
export function read(known, json) {
    let values;
    try {
        values = JSON.parse(json);
    } catch (error) {
        throw PluginError.invalidConfig(null, `not JSON: ${error.message}`);
    }
    if (typeof values !== "object" || values === null || Array.isArray(values)) {
        throw PluginError.invalidConfig(null, "must be an object of keys and values");
    }
    const names = Object.keys(known);
    const unknown = Object.keys(values).find((name) => !names.includes(name));
    if (unknown !== undefined) {
        const remedy = names.length === 0 ? "this plugin has none" : `known keys: ${names.join(", ")}`;
        throw PluginError.invalidConfig(unknown, `unknown key; ${remedy}`);
    }
    return Object.fromEntries(names.map((name) => [name, value(name, known[name], values[name])]));
}

function value(name, { what, fits, fallback }, given) {
    if (given === undefined || given === null) {
        if (fallback === undefined) {
            throw PluginError.invalidConfig(name, "missing; it has no default");
        }
        return fallback;
    }
    if (!fits(given)) {
        throw PluginError.invalidConfig(name, `must be ${what}, not \`${JSON.stringify(given)}\``);
    }
    return given;
}
