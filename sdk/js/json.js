// JSON.parse, with what a sender may do to it.

import { PluginError } from "./error.js";

/** Deeper than any sender nests, and far from where the sandbox's stack ends. */
const DEEPEST = 200;

/** A text as JSON; `not JSON: …` where it is none. */
export function parse(text) {
    if (isTooDeep(text)) {
        throw PluginError.invalidPayload(`not JSON: nested deeper than ${DEEPEST}`);
    }
    let value;
    try {
        value = JSON.parse(text);
    } catch (error) {
        throw PluginError.invalidPayload(`not JSON: ${error.message}`);
    }
    if (hasLoneSurrogate(text, value)) {
        throw PluginError.invalidPayload("not JSON: an escape is half of a character (a lone surrogate)");
    }
    return value;
}

/** JSON.parse recurses, and the end of the stack is the end of the instance. */
function isTooDeep(text) {
    let openings = 0;
    for (const bracket of ["{", "["]) {
        for (let at = text.indexOf(bracket); at >= 0 && openings <= DEEPEST; at = text.indexOf(bracket, at + 1)) {
            openings += 1;
        }
    }
    return openings > DEEPEST && goesDeeper(text);
}

function goesDeeper(text) {
    const structure = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"?/gs, "").replace(/[^[\]{}]+/g, "");
    let depth = 0;
    for (let at = 0; at < structure.length && depth <= DEEPEST; at++) {
        const character = structure.charCodeAt(at);
        depth += character === 0x5b || character === 0x7b ? 1 : -1;
    }
    return depth > DEEPEST;
}

/** No such text can leave the sandbox: texts are UTF-8 outside. */
function hasLoneSurrogate(text, value) {
    return /\\u[dD][89a-fA-F]/.test(text) && /\\u[dD][89a-fA-F]/.test(JSON.stringify(value).replace(/\\\\/g, ""));
}
