// The form of a request, and the answer to it.

import { ask, copyLink, find, link, make, say } from "./stream.js";
import { Answer } from "./answer.js";

const form = find("#ask");
let running = null;
let answer = null;
let version = null;

export function know(known) {
  version = known.runsd;
}

// What is left out of a link: what is usual, and what should not be shared.
export function parameters({ url, method = "GET", protocol = "http1", headers = [], body = "" }) {
  const pairs = [["url", url]];
  if (method !== "GET") pairs.push(["method", method]);
  if (protocol !== "http1") pairs.push(["protocol", protocol]);
  for (const [name, value] of headers) {
    if (!/authorization|cookie|token|secret|key/i.test(name)) pairs.push(["header", `${name}: ${value}`]);
  }
  if (body) pairs.push(["body", body]);
  return pairs;
}

export function state() {
  return parameters(read());
}

export function fill(given) {
  form.url.value = given.get("url") ?? "";
  form.method.value = given.get("method") ?? "GET";
  form.protocol.value = given.get("protocol") ?? "http1";
  form.headers.value = given.getAll("header").join("\n");
  form.body.value = given.get("body") ?? "";
  find("#more").open = Boolean(form.headers.value || form.body.value);
  adapt();
  mark();
}

function read() {
  const lines = form.headers.value.split("\n").filter((line) => line.trim());
  return {
    url: form.url.value.trim(),
    method: form.method.value,
    protocol: form.protocol.value,
    headers: lines.map((line) => {
      const [name, ...value] = line.split(":");
      return [name.trim(), value.join(":").trim()];
    }),
    body: form.body.value,
  };
}

// The protocol decides what a method and a body are.
function adapt() {
  const protocol = form.protocol.value;
  const own = ["websocket", "grpc-health"].includes(protocol);
  form.method.disabled = own;
  if (own) form.method.value = protocol === "websocket" ? "GET" : "POST";
  find("#body-label").textContent = {
    websocket: "Messages, one a line",
    "grpc-health": "gRPC service (empty: all of the server)",
  }[protocol] ?? "Body";
}

function mark() {
  const here = link("request", state());
  for (const entry of document.querySelectorAll("#examples a")) {
    if (entry.getAttribute("href") === here) entry.setAttribute("aria-current", "true");
    else entry.removeAttribute("aria-current");
  }
}

async function send() {
  running?.abort();
  running = new AbortController();
  const mine = running;
  const asked = read();
  history.replaceState(null, "", link("request", state()));
  mark();
  answer = new Answer(asked, version);
  say("Sent");
  find("#stop").hidden = false;
  try {
    for await (const event of ask("/api/request", asked, mine.signal)) answer.take(event);
    answer.over();
  } catch (problem) {
    if (mine === running) answer.fail(mine.signal.aborted ? "Stopped." : problem.message);
  }
  if (mine !== running) return;
  find("#stop").hidden = true;
  if (answer.isDenied()) await inside(answer, true);
}

// Has runsd say what it does for a name, step by step.
async function inside(about, forHint) {
  const lines = [];
  try {
    for await (const event of ask("/api/check", { name: about.asked.url })) {
      if (event.event === "line") lines.push(event);
      if (event.event === "error") about.note("wrong", "runsd -check", event.sentence);
    }
  } catch (problem) {
    about.note("wrong", "runsd -check", problem.message);
  }
  if (about !== answer) return;
  about.inside(lines, forHint);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
form.addEventListener("input", (event) => {
  if (event.target.name === "protocol") adapt();
});
for (const area of form.querySelectorAll("textarea")) {
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
find("#stop").addEventListener("click", () => running?.abort());
find("#copy").addEventListener("click", (event) => copyLink(event.target));
find("#inside").addEventListener("click", () => inside(answer, false));
