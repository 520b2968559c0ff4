import type { Alert, Parser, Payload, SourceClass } from "./index.js";

/** Configures a source with the keys of its file. */
export function source<P>(type: SourceClass<P>, keys?: Record<string, unknown>): P;
/** A payload of a text or of bytes. */
export function payload(body: string | Uint8Array): Payload;
/** The alerts that a plugin makes of a body; throws where one breaks a rule of the contract. */
export function parse(plugin: Parser, body: string | Uint8Array): Alert[];
/** Parses every sample in `folder` and compares with `name.expected.json`; UPDATE_EXPECT=1 writes what comes out. */
export function samples(plugin: Parser, folder: string): void;
/** An alert as the samples write it. */
export function asJson(alert: Alert): Record<string, unknown>;
