/** docs/browser.md names what there is, and nothing else. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as all from "../../../reference/web/index.js";

const page = readFileSync(new URL("../../../docs/browser.md", import.meta.url), "utf8");
const source = readFileSync(new URL("../../../reference/web/client/run_client.js", import.meta.url), "utf8");
const options = readFileSync(new URL("../../../reference/web/client/options.js", import.meta.url), "utf8");
const section = (title) => page.split(`## ${title}`)[1].split("\n## ")[0];
const cells = (text) => [...text.matchAll(/^\| ([^|]*)\|/gm)].map(([, cell]) => cell);
const names = (text) => [...text.matchAll(/`(\w+)/g)].map(([, name]) => name);

test("every export is named", () => {
  for (const name of Object.keys(all)) assert.ok(page.includes(`\`${name}`) || page.includes(` ${name}`), name);
});

test("methods and properties", () => {
  const client = new all.RunClient(randomUUID(), { url: "http://x", storage: "memory", transports: { WebSocket: class {}, fetch }, page: null });
  const methods = cells(section("Methods")).flatMap(names);
  const properties = names(section("Methods").split("Properties, read only:")[1].replace(/\([^()]*\)/g, "").split("\n##")[0]);
  for (const name of methods) assert.equal(typeof client[name], "function", name);
  for (const name of properties) assert.ok(name in client, name);
  const there = [...Object.getOwnPropertyNames(all.RunClient.prototype), ...Object.keys(client)].filter((name) => !["constructor", "events"].includes(name));
  assert.deepEqual(there.filter((name) => ![...methods, ...properties].includes(name)), []);
});

test("events", () => {
  const listed = cells(section("Events")).flatMap(names);
  const dispatched = new Set([...source.matchAll(/(?:#dispatch\(|CustomEvent\()"(\w+)"/g)].map(([, name]) => name));
  for (const [, name] of source.matchAll(/#deliver\([^;]*?, "(\w+)"/g)) dispatched.add(name);
  dispatched.add("reset"); // a delivery's kind is its type
  assert.deepEqual([...dispatched].sort(), [...listed].sort());
});

test("options", () => {
  const listed = cells(section("`new RunClient")).flatMap(names);
  const typed = [...options.split("@typedef {object} Options")[1].split("*/")[0].matchAll(/\[(\w+)\]/g)].map(([, name]) => name);
  assert.deepEqual(typed.sort(), listed.sort());
});

test("the health object", () => {
  const client = new all.RunClient(randomUUID(), { url: "http://x", storage: "memory", transports: { WebSocket: class {}, fetch }, page: null });
  const typed = [...section("Health").split("type Health = {")[1].split("\n};")[0].matchAll(/^ {2}(\w+):/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(client.health.value).sort(), typed.sort());
});
