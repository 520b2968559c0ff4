// Write a Watchkeeper plugin in JavaScript or TypeScript. README.md goes from nothing to a plugin; index.d.ts says what
// each thing here may hold.

export * as config from "./config.js";
export { PluginError } from "./error.js";
export * as http from "./http.js";
export * as log from "./log.js";
export * as time from "./time.js";
export { register } from "./register.js";
export { Alert, Feed, Payload, Step } from "./types.js";
