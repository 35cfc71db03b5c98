const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { after, test } = require("node:test");

process.env.PORT = "0"; // any that is free
process.env.NEXT_PUBLIC_API_URL = "https://api.example.com";
process.env.NEXT_PUBLIC_AI_URL = "https://ai.example.com";
// Built elsewhere, so that nothing is left beside the source.
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "standalone-"));
process.chdir(folder);
require("./build.js");
const server = require(`${folder}/.next/standalone/server.js`);
after(() => {
  fs.rmSync(folder, { recursive: true });
  server.close();
  server.closeAllConnections();
});
const get = (path) => fetch(`http://127.0.0.1:${server.address().port}${path}`);

test("the page knows where its two APIs are", async () => {
  const answer = await get("/");
  assert.equal(answer.headers.get("content-type"), "text/html");
  const page = await answer.text();
  assert.match(page, /data-api="https:\/\/api\.example\.com" data-ai="https:\/\/ai\.example\.com"/);
  assert.doesNotMatch(page, /%\w+%/);
});

test("the script that the page names is there", async () => {
  const [, script] = (await (await get("/")).text()).match(/<script src="([^"]+)"/);
  const answer = await get(script);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get("content-type"), "text/javascript");
});

test("it says that it is up, and of no other page that there is one", async () => {
  assert.equal((await get("/health")).status, 200);
  assert.equal((await get("/etc/passwd")).status, 404);
});
