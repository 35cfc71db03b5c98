// The smallest Node server that a release can be proved with; it knows nothing of sockets that are
// handed over, of draining or of Slipway.
const http = require("node:http");

const revision = process.env.RELEASE_REVISION || "none";
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

http
  .createServer(async (request, response) => {
    if (request.url === "/health/") return response.end(JSON.stringify({ status: "ok" }));
    if (request.url === "/slow/") await pause(200);
    response.end(revision);
  })
  .listen(process.env.PORT || 3000, "0.0.0.0", () => console.log("open"));
