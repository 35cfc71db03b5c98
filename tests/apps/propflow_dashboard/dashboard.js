const api = document.body.dataset.api;
const said = document.getElementById("said");
let phone, token;

async function ask(method, path, body, type = "application/json") {
  const headers = { "content-type": type, authorization: `Bearer ${token}` };
  const answer = await fetch(`${api}/api/v1/${path}`, { method, headers, body });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function show() {
  const list = await (await ask("GET", "properties")).json();
  const lines = list.map((each) => {
    const line = document.createElement("li");
    line.textContent = `${each.address}${each.reviewed ? ", reviewed" : ""}`;
    return line;
  });
  document.getElementById("properties").replaceChildren(...lines);
}

const steps = {
  async phone(form) {
    phone = form.phone.value;
    await ask("POST", "codes", JSON.stringify({ phone }));
    return "A code is on its way.";
  },
  async code(form) {
    const body = JSON.stringify({ phone, code: form.code.value });
    token = (await (await ask("POST", "sessions", body)).json()).token;
    setInterval(show, 1000);
    return "You are signed in.";
  },
  async property(form) {
    const body = JSON.stringify({ address: form.address.value });
    const { id } = await (await ask("POST", "properties", body)).json();
    await ask("PUT", `properties/${id}/photo`, "a photo", "application/octet-stream");
    return "The photo is stored.";
  },
};

for (const [name, step] of Object.entries(steps))
  document.getElementById(name).addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = await step(event.target).catch((error) => error.message);
  });
