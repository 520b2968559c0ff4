// The contract's types as JavaScript has them. What each may hold is written in `watchkeeper.wit`; times are Unix
// milliseconds, whole and below 2^53.

/** How urgent an alert is. */
export type Severity = "info" | "warning" | "critical";
export type Status = "firing" | "resolved";

export interface AlertRest {
    description?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    startsAt?: number | null;
    endsAt?: number | null;
}

/** One occurrence of one alert. */
export class Alert {
    constructor(id: string, severity: Severity, status: Status, title: string, rest?: AlertRest);
    /** What alerts: the sender's own stable identity. */
    id: string;
    severity: Severity;
    status: Status;
    /** One line for a person. */
    title: string;
    description: string;
    /** What identifies the alert and is correlated on: host, service. */
    labels: Record<string, string>;
    /** What describes it. */
    annotations: Record<string, string>;
    startsAt: number | null;
    endsAt: number | null;
}

/** What arrived, as it arrived. */
export class Payload {
    constructor(body: Uint8Array, contentType?: string | null, attributes?: [string, string][]);
    body: Uint8Array;
    contentType: string | null;
    attributes: [string, string][];
    /** The body as text; throws `invalid-payload` where it is none. */
    text(): string;
    /** The body as JSON; throws `invalid-payload` that begins with `not JSON` where it is none. */
    json(): any;
    /** An HTTP header (names are in lower case) or a message's metadata. */
    attribute(name: string): string | null;
}

/** Made by `Feed.webhook` and its like. */
export type Feed = { readonly tag: "webhook" | "poll" | "subscription"; readonly val: unknown };
export const Feed: {
    webhook(path: string): Feed;
    poll(intervalMs: number): Feed;
    subscription(transport: string, settings: Record<string, string>): Feed;
};

/** What a plugin throws where it can't answer, sorted by who can act. */
export class PluginError extends Error {
    private constructor();
    readonly kind: "invalid-config" | "invalid-payload" | "unauthorized" | "unavailable" | "failed";
    readonly key: string | null;
    readonly retryAfter: number | null;
    /** The operator mends `key` of the source's file. */
    static invalidConfig(key: string | null, reason: string): PluginError;
    /** The sender mends what it sends: say where and what. */
    static invalidPayload(reason: string): PluginError;
    static unauthorized(reason: string): PluginError;
    /** `retryAfter` is in milliseconds. */
    static unavailable(reason: string, retryAfter?: number | null): PluginError;
    static failed(reason: string): PluginError;
}

export interface Reply {
    /** 200 to 599. */
    status: number;
    headers?: Record<string, string>;
    body?: string | Uint8Array;
}

export interface Batch {
    alerts: Alert[];
    /** Handed to the next `fetch` once this batch is durably stored. */
    cursor?: string | null;
    /** There is more to fetch now. */
    more?: boolean;
}

export interface Tool {
    name: string;
    description: string;
    inputSchema: string;
}

/** `input` is a JSON object, as text. */
export interface Call {
    tool: string;
    input: string;
    purpose: string;
}

export interface Outcome {
    call: Call;
    status: "ran" | "failed" | "timed-out" | "refused" | "interrupted";
    output: string;
    truncated: boolean;
    exitCode: number | null;
    durationMs: number;
}

export interface Evidence {
    /** An index into the outcomes, from 0. */
    outcome: number;
    excerpt: string;
}

export interface Finding {
    statement: string;
    evidence: Evidence[];
}

export interface Report {
    summary: string;
    rootCause?: string | null;
    findings?: Finding[];
    recommendations?: string[];
    /** 0 to 1. */
    confidence: number;
}

export interface PastReport {
    incident: string;
    title: string;
    endedAt: number;
    report: Required<Report>;
}

export interface Briefing {
    incident: string;
    source: string;
    alert: Alert;
    related: Alert[];
    history: PastReport[];
    tools: Tool[];
    now: number;
}

export interface Prompt {
    instructions: string;
    task: string;
    firstSteps?: Call[];
}

/** Made by `Step.calls` and `Step.conclude`. */
export type Step = { readonly tag: "calls" | "conclude"; readonly val: unknown };
export const Step: { calls(calls: Call[]): Step; conclude(report: Report): Step };

export interface Parser {
    parse(payload: Payload): Alert[];
}
export interface Responder {
    respond(payload: Payload): Reply | null;
}
export interface Poller {
    fetch(cursor: string | null): Batch;
}
export interface Health {
    check(): void;
}
/** `config` says what each key may hold; `configure` is given their values. */
export interface SourceClass<P> {
    readonly config?: Record<string, config.Key<any>>;
    configure(settings: any): [P, Feed];
}
export interface PromptBuilderClass {
    score(alert: Alert): number;
    build(briefing: Briefing): Prompt;
}
export interface PlaybookClass {
    next(briefing: Briefing, outcomes: Outcome[]): Step;
}

type MadeBySource<I> = { readonly prototype: I };

/** Says what the plugin exports, each with the class that does it. Once in a plugin. */
export function register(classes: {
    source?: SourceClass<any>;
    parser?: MadeBySource<Parser>;
    responder?: MadeBySource<Responder>;
    poller?: MadeBySource<Poller>;
    health?: MadeBySource<Health>;
    promptBuilder?: PromptBuilderClass;
    playbook?: PlaybookClass;
}): void;

export namespace config {
    /** What a key of the source's file may hold. */
    interface Key<T> {
        readonly fallback: T | undefined;
    }
    /** The values of keys: `Settings<typeof Mine.config>`. */
    type Settings<K extends Record<string, Key<any>>> = { [N in keyof K]: K[N] extends Key<infer T> ? T : never };

    function text(fallback?: string): Key<string>;
    function texts(fallback?: string[]): Key<string[]>;
    function integer(fallback?: number): Key<number>;
    function number(fallback?: number): Key<number>;
    function boolean(fallback?: boolean): Key<boolean>;
    function any(fallback?: any): Key<any>;
    function oneOf<T extends string>(names: readonly T[], fallback?: T): Key<T>;
}

export namespace http {
    class Response {
        status: number;
        /** Names in lower case. */
        headers: [string, string][];
        body: Uint8Array;
        /**
         * Itself where the status means success; else throws `unauthorized` (401, 403) or `unavailable` (with retry-after, if there
         * is one).
         */
        success(): Response;
        header(name: string): string | null;
        text(): string;
        json(): any;
    }
    interface Options {
        headers?: Record<string, string>;
        /** Put behind the URL, encoded. */
        query?: Record<string, string>;
        body?: string | Uint8Array | null;
        timeoutMs?: number;
    }
    function get(url: string, headers?: Record<string, string>, query?: Record<string, string>): Response;
    function post(url: string, body: string | Uint8Array, headers?: Record<string, string>): Response;
    /** Throws `unavailable` where there is no answer, `failed` where the host isn't granted. */
    function request(method: string, url: string, options?: Options): Response;
}

export namespace log {
    function trace(message: string): void;
    function debug(message: string): void;
    function info(message: string): void;
    function warn(message: string): void;
    function error(message: string): void;
}

export namespace time {
    /**
     * An RFC 3339 time in Unix milliseconds, for an alert's `startsAt`; throws `invalid-payload` that begins with `place` where it
     * is none. Null for Go's zero time, by which it says "never".
     */
    function read(text: string, place: string): number | null;
}
