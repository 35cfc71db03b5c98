// Stands for what `next build` puts into .next/standalone: one script that listens where PORT says.
const http = require("node:http");
const fs = require("node:fs");

const page = fs.readFileSync(`${__dirname}/index.html`);
const script = fs.readFileSync(`${__dirname}/storefront.js`);

module.exports = http
  .createServer((request, response) => {
    if (request.url === "/health") return response.end("up\n");
    if (request.url === "/") return response.setHeader("content-type", "text/html").end(page);
    if (request.url === "/storefront.js")
      return response.setHeader("content-type", "text/javascript").end(script);
    response.statusCode = 404;
    response.end("There is no such page.\n");
  })
  .listen(process.env.PORT || 3000);
