import Greeting from "./greeting";

// Rendered for each visitor, on the server that the release runs.
export const dynamic = "force-dynamic";

export default function Page() {
  return (
    <main>
      <Greeting /> <p>{process.env.RELEASE_REVISION || "none"}</p>
    </main>
  );
}
