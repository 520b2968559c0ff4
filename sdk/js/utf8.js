// Bytes and texts. The sandbox has no TextDecoder; what it has of old is written in C, which is what counts.

import { PluginError } from "./error.js";

const CHUNK = 8192;

/** UTF-8 bytes as a text. */
export function decode(bytes) {
    let latin1 = "";
    for (let at = 0; at < bytes.length; at += CHUNK) {
        latin1 += String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK));
    }
    if (!/[\x80-\xff]/.test(latin1)) {
        return latin1;
    }
    try {
        return decodeURIComponent(escape(latin1));
    } catch {
        throw PluginError.invalidPayload(`body is not UTF-8: byte ${firstWrong(latin1)}`);
    }
}

/** Where the first byte is that no text has: found by halves, for only the odd sender gets here. */
function firstWrong(latin1) {
    let [fine, wrong] = [0, latin1.length];
    while (wrong - fine > 1) {
        const middle = (fine + wrong) >> 1;
        if (isPrefixOfUtf8(latin1.slice(0, middle))) {
            fine = middle;
        } else {
            wrong = middle;
        }
    }
    return fine;
}

/** A prefix may end inside of a character: up to 3 bytes are let off. */
function isPrefixOfUtf8(latin1) {
    return [0, 1, 2, 3].some((cut) => {
        const tail = latin1.slice(latin1.length - cut);
        if (cut > 0 && !/^[\xc2-\xf4][\x80-\xbf]*$/.test(tail)) {
            return false;
        }
        try {
            decodeURIComponent(escape(latin1.slice(0, latin1.length - cut)));
            return true;
        } catch {
            return false;
        }
    });
}

/** A text as UTF-8 bytes. */
export function encode(text) {
    const latin1 = unescape(encodeURIComponent(text));
    const bytes = new Uint8Array(latin1.length);
    for (let at = 0; at < latin1.length; at++) {
        bytes[at] = latin1.charCodeAt(at);
    }
    return bytes;
}
