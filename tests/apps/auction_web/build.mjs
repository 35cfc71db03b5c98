// Stands for `vite build`: dist/index.html, its script under a name that changes with its content,
// and in it what VITE_API_URL and VITE_WS_URL were when it was built.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const { VITE_API_URL, VITE_WS_URL } = process.env;
if (!VITE_API_URL || !VITE_WS_URL) throw new Error("VITE_API_URL and VITE_WS_URL are needed");
const script = readFileSync("src/main.js", "utf8")
  .replace("import.meta.env.VITE_API_URL", JSON.stringify(VITE_API_URL))
  .replace("import.meta.env.VITE_WS_URL", JSON.stringify(VITE_WS_URL));
const name = `assets/main-${createHash("sha256").update(script).digest("hex").slice(0, 8)}.js`;
mkdirSync("dist/assets", { recursive: true });
writeFileSync(`dist/${name}`, script);
writeFileSync("dist/index.html", readFileSync("index.html", "utf8").replace("/src/main.js", `/${name}`));
