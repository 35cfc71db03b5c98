// Stands for `next build` and the copying after it: .next/standalone/server.js, what it serves beside
// it, and in the page what NEXT_PUBLIC_API_URL was when it was built.
const fs = require("node:fs");

const { NEXT_PUBLIC_API_URL } = process.env;
if (!NEXT_PUBLIC_API_URL) throw new Error("NEXT_PUBLIC_API_URL is needed");
const page = fs
  .readFileSync(`${__dirname}/index.html`, "utf8")
  .replace("%API%", NEXT_PUBLIC_API_URL);
fs.mkdirSync(".next/standalone", { recursive: true });
fs.writeFileSync(".next/standalone/index.html", page);
for (const name of ["server.js", "dashboard.js"])
  fs.copyFileSync(`${__dirname}/${name}`, `.next/standalone/${name}`);
