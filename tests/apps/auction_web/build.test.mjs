import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";

const told = { VITE_API_URL: "https://api.example.com", VITE_WS_URL: "wss://api.example.com" };
let copy;
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), "auction-web-"));
  for (const name of ["build.mjs", "index.html", "src"])
    cpSync(new URL(name, import.meta.url), join(copy, name), { recursive: true });
});
afterEach(() => rmSync(copy, { recursive: true }));
const build = (env) => {
  execFileSync(process.execPath, ["build.mjs"], { cwd: copy, env, stdio: "pipe" });
  const page = readFileSync(join(copy, "dist/index.html"), "utf8");
  return page.match(/src="\/(assets\/main-[0-9a-f]{8}\.js)"/)[1];
};

test("the page names its script, which knows where API and WebSockets are", () => {
  const script = readFileSync(join(copy, "dist", build(told)), "utf8");
  for (const url of Object.values(told)) assert.ok(script.includes(JSON.stringify(url)));
  assert.doesNotMatch(script, /import\.meta\.env/);
});

test("the script's name changes with what is in it", () => {
  assert.notEqual(build(told), build({ ...told, VITE_WS_URL: "wss://other.example.com" }));
});

test("nothing is built for an API that nobody named", () => {
  assert.throws(() => build({ VITE_API_URL: told.VITE_API_URL }), /VITE_WS_URL are needed/);
});
