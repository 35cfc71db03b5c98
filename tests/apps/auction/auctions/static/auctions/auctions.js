"use strict";

// Without this script the page still shows every auction and takes bids; with it, it is live.

const open = new Set();
const live = document.getElementById("live");

function showConnection() {
  const on = open.size === lots.length && lots.length > 0;
  live.classList.toggle("on", on);
  live.textContent = on ? "Live" : "Connecting…";
}

function remaining(closesAt) {
  const seconds = Math.floor((new Date(closesAt) - Date.now()) / 1000);
  if (seconds <= 0) return "Going, going…";
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  const [minutes, rest] = [Math.floor(seconds / 60) % 60, seconds % 60];
  if (days) return `${days} d ${hours} h left`;
  if (hours) return `${hours} h ${minutes} min left`;
  return minutes ? `${minutes} min ${rest} s left` : `${rest} s left`;
}

function leader(standing) {
  if (standing.winner) return `Sold to ${standing.winner}`;
  if (standing.closed) return "Not sold";
  return standing.leader ? `${standing.leader} leads` : "Starting price";
}

class Lot {
  constructor(element) {
    this.element = element;
    this.id = element.dataset.auction;
    this.form = element.querySelector("form");
    this.clock = this.find("clock");
    this.form?.addEventListener("submit", (event) => this.bid(event));
    element.querySelector("img")?.addEventListener("error", (event) => event.target.remove());
    this.listen();
    this.tick();
  }

  find(name) {
    return this.element.querySelector(`[data-show=${name}]`);
  }

  get closed() {
    return "closed" in this.element.dataset;
  }

  listen(delay = 500) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws/auctions/${this.id}/`);
    socket.addEventListener("open", () => { open.add(this.id); delay = 500; showConnection(); });
    socket.addEventListener("message", (event) => this.show(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      open.delete(this.id);
      showConnection();
      setTimeout(() => this.listen(Math.min(delay * 2, 10_000)), delay * (0.5 + Math.random()));
    });
  }

  show(standing) {
    const { dataset, classList } = this.element;
    // Two messages may overtake each other; an auction only ever moves forward.
    if (standing.bids < dataset.bids || (this.closed && !standing.closed)) return;
    if (standing.bids > dataset.bids) {
      classList.remove("changed");
      void this.element.offsetWidth; // lets the animation start anew
      classList.add("changed");
    }
    dataset.bids = standing.bids;
    if (standing.closed) dataset.closed = "";
    this.find("price").textContent = standing.price.toLocaleString("en");
    this.find("bids").textContent = `${standing.bids} bid${standing.bids === 1 ? "" : "s"}`;
    this.find("leader").textContent = leader(standing);
    if (this.form) {
      const { amount } = this.form.elements;
      amount.min = standing.minimum_bid;
      if (amount !== document.activeElement) amount.value = standing.minimum_bid;
    }
    this.tick();
  }

  tick() {
    this.clock.textContent = this.closed ? "Closed" : remaining(this.clock.dateTime);
    const soon = new Date(this.clock.dateTime) - Date.now() < 60_000;
    this.clock.parentElement.classList.toggle("soon", soon && !this.closed);
  }

  async bid(event) {
    event.preventDefault();
    const [button, answer] = this.form.querySelectorAll("button, .answer");
    button.disabled = true;
    try {
      const response = await fetch(this.form.action, {
        method: "POST",
        body: new FormData(this.form),
        headers: { Accept: "application/json" },
      });
      const said = await response.json();
      if (response.ok) {
        this.show(said);
        const name = this.form.elements.bidder.value;
        for (const input of document.querySelectorAll("input[name=bidder]")) input.value ||= name;
      }
      answer.textContent = response.ok ? "Your bid is the highest." : said.error;
      answer.classList.toggle("good", response.ok);
    } catch {
      answer.textContent = "The auction room did not answer. Please try again.";
      answer.classList.remove("good");
    } finally {
      button.disabled = false;
    }
  }
}

const lots = [...document.querySelectorAll("[data-auction]")].map((element) => new Lot(element));
showConnection();
setInterval(() => lots.forEach((lot) => lot.tick()), 1000);
