// Stands for what `next build` puts into .next/standalone: one script that listens where PORT says.
// The browser then talks to the API.
const http = require("node:http");
const fs = require("node:fs");

const page = fs.readFileSync(`${__dirname}/index.html`);
const script = fs.readFileSync(`${__dirname}/dashboard.js`);

module.exports = http
  .createServer((request, response) => {
    if (request.url === "/health") return response.end("up\n");
    if (request.url === "/") return response.setHeader("content-type", "text/html").end(page);
    if (request.url === "/dashboard.js")
      return response.setHeader("content-type", "text/javascript").end(script);
    response.statusCode = 404;
    response.end("There is no such page.\n");
  })
  .listen(process.env.PORT || 3000);
