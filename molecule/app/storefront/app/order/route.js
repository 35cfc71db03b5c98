import { appendFile } from "node:fs/promises";
import { after } from "next/server";

export const dynamic = "force-dynamic";

const revision = process.env.RELEASE_REVISION || "none";

export const GET = () => new Response(revision);

// What has been answered is still to be done, whatever becomes of the server.
export function POST() {
  after(async () => {
    await new Promise((done) => setTimeout(done, 1000));
    await appendFile(process.env.ORDERS, `${revision}\n`);
  });
  return new Response(revision);
}
