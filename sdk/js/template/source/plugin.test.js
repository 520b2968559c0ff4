import assert from "node:assert/strict";
import { test } from "node:test";

import { parse, samples, source } from "watchkeeper-sdk/testing";

import { @Type@ } from "./plugin.js";

const plugin = source(@Type@);

// UPDATE_EXPECT=1 writes what comes out; read the difference.
test("every sample becomes what is expected", () => samples(plugin, "samples"));

test("a mistake is named by its place", () => {
    assert.throws(() => parse(plugin, '{"alerts": [{"id": 7}]}'), { message: "alerts[0].id: must be a text" });
});
