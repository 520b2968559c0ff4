// Requests to the hosts that the operator granted, over wasi:http. They block: a call into a plugin has a deadline, and
// nothing else to do meanwhile.

import { PluginError } from "./error.js";
import { parse } from "./json.js";
import { decode, encode } from "./utf8.js";

/** More than a plugin may answer. */
const LARGEST = 16 * 1024 * 1024;

const NANOSECONDS = 1_000_000;

let wasi = null;

/** The host's `types` and `handler` of wasi:http. */
export function connect(host) {
    wasi = host;
}

/** What came back. */
export class Response {
    constructor(status, headers, body) {
        this.status = status;
        /** Names in lower case. */
        this.headers = headers;
        this.body = body;
    }

    /**
     * Itself where the status means success; else throws what the status means: `unauthorized` for 401 and 403, `unavailable` (with
     * retry-after, if there is one) for whatever else.
     */
    success() {
        if (this.status >= 200 && this.status <= 299) {
            return this;
        }
        const answered = `the other side answered ${this.status}`;
        if (this.status === 401 || this.status === 403) {
            throw PluginError.unauthorized(answered);
        }
        const seconds = /^\d{1,9}$/.exec(this.header("retry-after") ?? "")?.[0];
        throw PluginError.unavailable(answered, seconds === undefined ? null : Number(seconds) * 1000);
    }

    header(name) {
        return this.headers.find(([key]) => key === name)?.[1] ?? null;
    }

    text() {
        return decode(this.body);
    }

    json() {
        return parse(this.text());
    }
}

export const get = (url, headers = {}, query = {}) => request("GET", url, { headers, query });

export const post = (url, body, headers = {}) => request("POST", url, { headers, body });

/**
 * One request, redirects not followed. Throws `unavailable` where there is no answer, and `failed` where the host isn't granted;
 * an answer of any status is an answer.
 */
export function request(method, url, { headers = {}, query = {}, body = null, timeoutMs = 20_000 } = {}) {
    if (wasi === null) {
        throw PluginError.failed("HTTP is for plugins that export `poller` or have `asks: { http: [HOST] }` in plugin.yaml");
    }
    const target = place(url, query);
    const what = `${method} ${target.scheme}://${target.authority}`;
    try {
        return exchange(wasi, method, target, headers, body, timeoutMs);
    } catch (error) {
        throw error instanceof PluginError ? error : refused(what, error);
    }
}

/** Where a request goes, as wasi:http wants it. */
export function place(url, query) {
    const parts = /^(https?):\/\/([^/?#\s]+)([^#\s]*)(#\S*)?$/.exec(url);
    if (parts === null) {
        throw PluginError.failed(`${url}: no http:// or https:// URL`);
    }
    const [, scheme, authority, rest] = parts;
    let path = rest.startsWith("/") ? rest : `/${rest}`;
    for (const [name, value] of Object.entries(query)) {
        path += `${path.includes("?") ? "&" : "?"}${percent(name)}=${percent(value)}`;
    }
    return { scheme, authority, path };
}

/** What RFC 3986 calls unreserved as it is, each other byte as `%XX`. */
const percent = (text) =>
    encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

function exchange({ types, handler }, method, { scheme, authority, path }, headers, body, timeoutMs) {
    const fields = Object.entries(headers).map(([name, value]) => [name, encode(value)]);
    const request = new types.OutgoingRequest(types.Fields.fromList(fields));
    request.setMethod(known.includes(method) ? { tag: method.toLowerCase() } : { tag: "other", val: method });
    request.setScheme({ tag: scheme.toUpperCase() });
    request.setAuthority(authority);
    request.setPathWithQuery(path);
    const options = new types.RequestOptions();
    options.setConnectTimeout(timeoutMs * NANOSECONDS);
    options.setFirstByteTimeout(timeoutMs * NANOSECONDS);
    options.setBetweenBytesTimeout(timeoutMs * NANOSECONDS);
    const sending = body === null ? null : request.body();
    const future = handler.handle(request, options);
    if (sending !== null) {
        write(types, sending, bytes(body));
    }
    const ready = future.subscribe();
    ready.block();
    ready[Symbol.dispose]();
    const answer = future.get().val;
    if (answer.tag === "err") {
        throw answer.val;
    }
    future[Symbol.dispose]();
    return read(answer.val);
}

const known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

function write(types, outgoing, bytes) {
    const stream = outgoing.write();
    for (let at = 0; at < bytes.length; at += 4096) {
        stream.blockingWriteAndFlush(bytes.subarray(at, at + 4096));
    }
    stream[Symbol.dispose]();
    types.OutgoingBody.finish(outgoing, null);
}

function read(response) {
    const status = response.status();
    const headers = response.headers().entries().map(([name, value]) => [name.toLowerCase(), decode(value)]);
    const body = response.consume();
    const stream = body.stream();
    const chunks = [];
    let length = 0;
    for (let chunk = next(stream); chunk !== null; chunk = next(stream)) {
        chunks.push(chunk);
        length += chunk.length;
        if (length > LARGEST) {
            throw PluginError.failed(`the answer has more than ${LARGEST} bytes`);
        }
    }
    stream[Symbol.dispose]();
    body[Symbol.dispose]();
    response[Symbol.dispose]();
    return new Response(status, headers, joined(chunks, length));
}

/** The next bytes; null at the end. */
function next(stream) {
    try {
        return stream.blockingRead(65536);
    } catch (error) {
        if (reason(error)?.tag === "closed") {
            return null;
        }
        throw error;
    }
}

function joined(chunks, length) {
    const all = new Uint8Array(length);
    let at = 0;
    for (const chunk of chunks) {
        all.set(chunk, at);
        at += chunk.length;
    }
    return all;
}

/** What an import of WASI throws: an error around the contract's value. */
const reason = (error) => error?.payload ?? error;

/** The reason by the name that WASI has for it, in lower case: `connection-refused`. */
function refused(what, error) {
    const code = reason(error);
    const name = String(code?.tag ?? code?.message ?? code).toLowerCase();
    return name === "http-request-denied"
        ? PluginError.failed(`${what}: not granted`)
        : PluginError.unavailable(`${what}: ${name}`);
}

/** A text as UTF-8; bytes as they are. */
export const bytes = (body) => (typeof body === "string" ? encode(body) : body);
