// Lots of the API's domain, live: whatever anybody bids is seen without asking again.
const api = import.meta.env.VITE_API_URL;
const socket = import.meta.env.VITE_WS_URL;

function show(lot) {
  const line = document.getElementById(`lot-${lot.id}`);
  line.querySelector("span").textContent = `${lot.title}: €${lot.price}, ${lot.leader || "no bid"}`;
  // Not its value: the visitor may be typing while others bid.
  line.querySelector("input").placeholder = lot.minimum_bid;
}

async function bid(lot, amount) {
  const answer = await fetch(`${api}/api/auctions/${lot.id}/bids/`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ bidder: "Ada", amount: Number(amount) }),
  });
  document.getElementById("said").textContent = answer.ok
    ? "Your bid is the highest."
    : (await answer.json()).error;
}

function add(lot) {
  const line = document.createElement("li");
  line.id = `lot-${lot.id}`;
  line.innerHTML = "<span></span> <form><input name=amount><button>Bid</button></form>";
  document.getElementById("lots").append(line);
  show(lot);
  line.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    bid(lot, event.target.amount.value);
  });
  const live = new WebSocket(`${socket}/ws/auctions/${lot.id}/`);
  live.onmessage = (message) => show(JSON.parse(message.data));
}

const { auctions } = await (await fetch(`${api}/api/auctions/`)).json();
auctions.forEach(add);
