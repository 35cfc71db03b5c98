// Stands for `next build` and the copying after it: .next/standalone/server.js, what it serves beside
// it, and in the page what NEXT_PUBLIC_API_URL and NEXT_PUBLIC_AI_URL were when it was built.
const fs = require("node:fs");

const { NEXT_PUBLIC_API_URL, NEXT_PUBLIC_AI_URL } = process.env;
if (!NEXT_PUBLIC_API_URL || !NEXT_PUBLIC_AI_URL) throw new Error("NEXT_PUBLIC_API_URL and NEXT_PUBLIC_AI_URL are needed");
const page = fs
  .readFileSync(`${__dirname}/index.html`, "utf8")
  .replace("%API%", NEXT_PUBLIC_API_URL)
  .replace("%AI%", NEXT_PUBLIC_AI_URL);
fs.mkdirSync(".next/standalone", { recursive: true });
fs.writeFileSync(".next/standalone/index.html", page);
for (const name of ["server.js", "storefront.js"])
  fs.copyFileSync(`${__dirname}/${name}`, `.next/standalone/${name}`);
