// What the container is, and what runsd finds in it.

import { ask, find, make, say } from "./stream.js";

let checked = false;

export function know(known) {
  const { resolv_conf: file, user, variables, runsd, http_proxy: proxy } = known;
  const variable = (name) => variables.find(([known]) => known === name)?.[1];
  find("#where").textContent = [variable("K_SERVICE") ? `service ${variable("K_SERVICE")}` : "not on Cloud Run", runsd?.split(" (")[0] ?? "no runsd"].join(" · ");
  find("#resolv").textContent = file.problem ?? file.text;
  const { search, ndots, nameservers } = file.parsed;
  find("#resolv-help").textContent = `A name with fewer than ${ndots} dots is looked up under ${search.join(", then ") || "no domain"}, then as it is, at ${nameservers.join(", then ")}.`;
  const rows = [
    ["User", `${user.name ?? "no name"}, uid ${user.uid}`],
    ["Group", `${user.group ?? "no name"}, gid ${user.gid}`],
    ["runsd", runsd ?? "not found"],
    ["Requests go", proxy ? `through http_proxy, ${proxy}` : "to the address of the name, port 80"],
    ...variables,
  ];
  find("#who").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", null, name), make("dd", null, value)]));
}

export function shown() {
  if (!checked) check();
}

async function check() {
  checked = true;
  const list = find("#checks");
  list.replaceChildren();
  find("#check").disabled = true;
  try {
    for await (const event of ask("/api/check", {})) {
      if (event.event === "line") list.append(line(event.mark, event.what, event.text));
      if (event.event === "error") list.append(line("wrong", "runsd", event.sentence));
      if (event.event === "checked") say(event.code === 0 ? "All is well" : "Something is wrong");
    }
  } catch (problem) {
    list.append(line("wrong", "this page", problem.message));
  }
  find("#check").disabled = false;
}

function line(mark, what, text) {
  return make("li", null, make("span", { class: `badge ${mark}` }, mark), make("span", { class: "what" }, what), make("span", { class: "text" }, text));
}

find("#check").addEventListener("click", check);
