const { api, ai } = document.body.dataset;
const said = document.getElementById("said");
const visitor = crypto.randomUUID();
const names = {};

const get = async (url) => (await fetch(url)).json();
const post = (url, body) =>
  fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });

async function buy(id) {
  await post(`${ai}/ai/views`, JSON.stringify({ visitor, product: id }));
  const { order, error } = await (await post(`${api}/api/products/${id}/orders/`)).json();
  said.textContent = error || `Order ${order} of ${names[id]} is placed.`;
  while (order && !(await get(`${api}/api/orders/${order}/`)).confirmed)
    await new Promise((done) => setTimeout(done, 500));
  if (order) said.textContent = `Order ${order} of ${names[id]} is confirmed.`;
  const { products } = await get(`${ai}/ai/recommendations/${id}`);
  document.getElementById("recommended").textContent = products.map((each) => names[each]).join();
}

get(`${api}/api/products/`).then(({ products }) => {
  for (const { id, name, cents } of products) {
    names[id] = name;
    const line = document.createElement("li");
    line.textContent = `${name}, €${(cents / 100).toFixed(2)} `;
    const button = document.createElement("button");
    button.id = `buy-${id}`;
    button.textContent = "Buy";
    button.addEventListener("click", () => buy(id));
    line.append(button);
    document.getElementById("products").append(line);
  }
});
