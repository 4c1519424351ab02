// The lookup of a name, each try of it.

import { ask, copyLink, find, link, make, say, time } from "./stream.js";

const form = find("#look");
let running = null;

export function state() {
  return [["name", field("name").value.trim()], ["type", field("type").value.trim()]];
}

// By their ids, for a form has a name of its own.
const field = (id) => find(`#${id}`);

export function fill(given) {
  field("name").value = given.get("name") ?? "";
  field("type").value = given.get("type") ?? "A";
}

async function look() {
  running?.abort();
  running = new AbortController();
  const question = { name: field("name").value.trim(), type: field("type").value.trim() };
  history.replaceState(null, "", link("lookup", Object.entries(question)));
  find("#tries").replaceChildren();
  find("#found-title").textContent = "…";
  find("#found").hidden = false;
  try {
    for await (const event of ask("/api/lookup", question, running.signal)) take(event);
  } catch (problem) {
    if (problem.name !== "AbortError") failed(problem.message);
  }
}

function take(event) {
  if (event.event === "try") find("#tries").append(tried(event));
  if (event.event === "hosts") {
    find("#tries").append(make("li", null, make("span", { class: "asked" }, "/etc/hosts"), make("span", { class: "how" }, event.address)));
  }
  if (event.event === "found") {
    find("#found-title").textContent = event.records.join(", ");
    say(`Found: ${event.records.join(", ")}`);
  }
  if (event.event === "error") failed(event.sentence);
}

function failed(sentence) {
  find("#found-title").textContent = sentence;
  say(sentence);
}

function tried(event) {
  const name = field("name").value.trim();
  const asked = make("span", { class: "asked" });
  if (event.search) asked.append(name, make("b", null, `.${event.search}.`));
  else asked.append(event.name);
  const records = event.records.map((record) => make("li", null, `${record.type} ${record.data} `, make("span", { class: "took" }, `TTL ${record.ttl} s`)));
  const by = event.search ? `by way of search domain ${event.search}` : "as it is";
  const over = event.transport === "TCP" ? ", over TCP" : "";
  return make("li", null, asked, make("span", { class: "took" }, time(event.took)),
    make("span", { class: "how" }, `${event.outcome} · ${by} · ${event.nameserver}${over}`),
    records.length ? make("ul", { "aria-label": "Records" }, ...records) : null);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
find("#copy-lookup").addEventListener("click", (event) => copyLink(event.target));
