// The frame: tabs, what the address says, what the container is called.

import { find, link, linked, make } from "./stream.js";
import * as request from "./request.js";
import * as lookup from "./lookup.js";
import * as container from "./container.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const parts = { request, lookup, container };

function show(name, focus) {
  for (const tab of tabs) {
    const on = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", on);
    tab.tabIndex = on ? 0 : -1;
    find(`#${tab.getAttribute("aria-controls")}`).hidden = !on;
    if (on && focus) tab.focus();
  }
  parts[name].shown?.();
}

// Tabs as the authoring practices of ARIA want them: one stop, and arrows.
for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(tabs.at(to % tabs.length), true);
  });
}

function choose(tab, focus) {
  const name = tab.getAttribute("aria-controls");
  history.replaceState(null, "", link(name, parts[name].state?.() ?? {}));
  show(name, focus);
}

// A link fills the form and sends nothing: that is for people to do.
function follow() {
  const { tab, parameters } = linked();
  const name = tab in parts ? tab : "request";
  if ([...parameters].length) parts[name].fill?.(parameters);
  show(name);
}

function examples(known) {
  const names = known.names.map((name) => ({ title: name, request: { url: `http://${name}` } }));
  const all = [...(known.examples ?? []), ...names];
  const list = all.length ? all : [{ title: "hello", note: "a service of that name", request: { url: "http://hello" } }];
  for (const { title, note, request: asked } of list) {
    const href = link("request", request.parameters(asked));
    const entry = make("a", { href }, make("strong", null, title), note ? make("span", null, note) : null);
    find("#examples").append(make("li", null, entry));
    find("#names").append(make("option", { value: asked.url }));
  }
}

addEventListener("hashchange", follow);
const known = await (await fetch("/api/container")).json();
container.know(known);
request.know(known);
examples(known);
follow();
document.documentElement.dataset.ready = "";
