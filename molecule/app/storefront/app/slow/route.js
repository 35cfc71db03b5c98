export const dynamic = "force-dynamic";

export async function GET() {
  await new Promise((done) => setTimeout(done, 200));
  return new Response("slow");
}
