"use client";
// Runs in the browser as well, which therefore asks for hashed files of this very release.
import { useState } from "react";

export default function Greeting() {
  const [hands, raise] = useState(0);
  return <button onClick={() => raise(hands + 1)}>{process.env.NEXT_PUBLIC_GREETING} {hands}</button>;
}
