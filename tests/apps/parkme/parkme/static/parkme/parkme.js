const answer = document.getElementById("answer");

async function ticketOf(booking) {
  while (!booking.ticket) {
    await new Promise((done) => setTimeout(done, 500));
    booking = await (await fetch(`/api/bookings/${booking.id}/`)).json();
  }
  return booking.ticket;
}

document.getElementById("book").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = new FormData(event.target);
  const said = await fetch("/api/bookings/", { method: "POST", body });
  const booking = await said.json();
  answer.textContent = said.ok ? `Park in ${booking.spot}. ` : booking.error;
  if (!said.ok) return;
  const link = document.createElement("a");
  link.href = await ticketOf(booking);
  link.textContent = "Your ticket";
  answer.append(link);
});
