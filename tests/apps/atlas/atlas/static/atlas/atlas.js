document.getElementById("near").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = new URLSearchParams(new FormData(event.target));
  const { places } = await (await fetch(`/api/near/?${asked}`)).json();
  const lines = places.map((place) => {
    const line = document.createElement("li");
    line.textContent = `${place.name}, ${place.kilometres} km`;
    return line;
  });
  document.getElementById("places").replaceChildren(...lines);
});
