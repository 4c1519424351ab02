// An answer on the page, as it comes.

import { find, make, say, time } from "./stream.js";

export class Answer {
  constructor(asked, version) {
    this.asked = asked;
    this.version = version;
    this.times = {};
    this.bytes = 0;
    this.pieces = 0;
    this.text = "";
    for (const id of ["#status", "#meta", "#notes", "#chunks", "#times tbody", "#way div", "#answer-headers div"]) {
      find(id).replaceChildren();
    }
    for (const id of ["#times", "#way", "#answer-headers", "#inside"]) find(id).hidden = true;
    find("#inside").parentElement.hidden = true;
    find("#status").textContent = "…";
    find("#answer").hidden = false;
  }

  take(event) {
    this.now = event.ms;
    this[{
      try: "tried", address: "addressed", connected: "connected", sent: "sent", head: "headed", said: "said",
      chunk: "chunked", trailers: "trailed", end: "ended", error: "failed", hosts: "tried",
    }[event.event]]?.(event);
  }

  tried() {}

  addressed(event) {
    this.times.name = event.ms;
    this.proxy = event.proxy;
  }

  connected(event) {
    this.times.connect = event.ms;
  }

  sent(event) {
    this.request = event;
  }

  headed(event) {
    this.times.first = event.ms;
    this.head = event;
    const kind = event.status >= 500 ? "wrong" : event.status >= 400 ? "warn" : "ok";
    find("#status").replaceChildren(make("span", { class: `badge ${kind}` }, String(event.status)), ` ${event.reason}`);
    this.describe();
    this.table(find("#answer-headers"), ["Header", "Value"], event.headers.map(([name, value]) => [name, value]));
    say(`Answer: ${event.status} ${event.reason}`);
    this.own = this.header("proxy-status")?.startsWith("runsd") ?? false;
  }

  header(name) {
    return this.head?.headers.find(([known]) => known === name)?.[1];
  }

  chunked(event) {
    this.bytes += event.bytes;
    this.pieces += 1;
    this.text += event.text;
    this.append(event.text, event.ms, "");
    this.describe();
    if (this.pieces > 1) say(`${this.pieces} pieces so far`);
  }

  said(event) {
    this.append(event.text, event.ms, "out");
  }

  // Pieces that come together are one; a pause begins another.
  append(text, ms, kind) {
    if (!text) return;
    const last = find("#chunks").lastElementChild;
    if (last && !kind && ms - this.appended < 30 && !this.isConversation()) {
      last.querySelector("pre").append(text);
    } else {
      const piece = make("div", { class: `chunk ${kind}` }, make("time", null, `+${time(ms)}`), make("pre", null, text.replace(/\n+$/, "\n")));
      find("#chunks").append(piece);
      // Follows what streams, not what came at once.
      const box = find(".scroll");
      if (last) box.scrollTop = box.scrollHeight;
    }
    this.appended = ms;
  }

  isConversation() {
    return this.asked.protocol === "websocket";
  }

  trailed(event) {
    const rows = event.headers.map(([name, value]) => [`${name} (trailer)`, value]);
    this.table(find("#answer-headers"), ["Header", "Value"], [...this.head.headers, ...rows]);
    const status = event.headers.find(([name]) => name === "grpc-status")?.[1];
    if (status !== undefined) this.grpc(status, event.headers);
  }

  grpc(status, headers) {
    const message = headers.find(([name]) => name === "grpc-message")?.[1] ?? "";
    let text = message;
    try { text = decodeURIComponent(message); } catch { /* as it came */ }
    if (status === "0") this.note("", "gRPC status 0", "OK");
    else this.note("wrong", `gRPC status ${status}`, text || "no message");
  }

  ended(event) {
    this.complete = true;
    this.times.total = event.ms;
    if (event.encoded) this.note("warn", "Not shown", "The body is compressed; a token in it could not be seen and left out.");
    if (this.own) {
      const kind = /error=(\w+)/.exec(this.header("proxy-status"))?.[1] ?? "no error";
      this.note("wrong", `runsd answered this itself: ${kind}`, this.text.trim());
    }
    this.describe();
    this.over();
    say(`Complete: ${this.bytes} bytes in ${time(event.ms)}`);
  }

  failed(event) {
    this.times.total = event.ms;
    this.fail(event.sentence);
  }

  fail(sentence) {
    if (!this.head) find("#status").replaceChildren(make("span", { class: "badge wrong" }, "No answer"));
    this.note("wrong", null, sentence);
    this.over();
    say(sentence);
  }

  note(kind, title, text) {
    find("#notes").append(make("p", { class: `notice ${kind}` }, title ? make("strong", null, title) : null, text));
  }

  describe() {
    const parts = [this.head?.version.replace(".0", "")];
    if (this.bytes) parts.push(`${this.bytes} bytes`);
    if (this.pieces > 1) parts.push(`${this.pieces} pieces`);
    parts.push(time(this.now));
    find("#meta").textContent = parts.filter(Boolean).join(" · ");
  }

  // All that can be shown once nothing more comes.
  over() {
    if (this.isOver) return;
    this.isOver = true;
    this.times.total ??= this.now;
    this.drawTimes();
    this.drawWay();
    find("#inside").hidden = this.times.connect === undefined;
    find("#inside").parentElement.hidden = find("#inside").hidden;
  }

  isDenied() {
    return Boolean(this.head) && [401, 403, 404].includes(this.head.status) && !this.own;
  }

  drawTimes() {
    const { name, connect, first, total } = this.times;
    if (connect === undefined) return;
    const steps = [
      [this.proxy ? "Name (runsd’s part here)" : "Name", 0, name],
      ["Connect to runsd", name, connect],
      ["First byte", connect, first ?? total],
      ["Body", first ?? total, total],
    ];
    const rows = steps.map(([step, from, to]) => row(step, from, to, total, ""));
    rows.push(row("Total", 0, total, total, "total"));
    find("#times tbody").replaceChildren(...rows);
    find("#times").hidden = false;
  }

  // What `runsd -check` said, line by line.
  inside(lines, forHint) {
    const wrong = lines.find((line) => line.mark === "wrong");
    if (wrong) {
      this.note("warn", "What runsd says to it", wrong.text);
      say(wrong.text);
    }
    const url = lines.find((line) => line.what === "URL")?.text.split(",")[0];
    if (url) this.url = url;
    this.drawWay();
    const steps = lines
      .map((line) => ({ ...line, took: line.took ?? (line.what === "status" ? line.ms - lines.at(-2)?.ms : null) }))
      .filter((line) => line.took !== null && line.what !== "URL");
    if (!steps.length) return;
    const total = steps.reduce((sum, line) => sum + line.took, 0);
    const labels = { address: "Address of the service", token: "Token", TLS: "Connect and TLS", status: "First byte" };
    let at = 0;
    const rows = steps.map(({ what, took }) => {
      at += took;
      return row(labels[what] ?? what, at - took, at, total, "within");
    });
    for (const old of document.querySelectorAll("#times .within, #times .head")) old.remove();
    const head = make("tr", { class: "head" }, make("th", { scope: "rowgroup", colspan: 3 }, "Inside runsd, on a new connection"));
    find("#times tbody").append(head, ...rows);
    if (!forHint) say(`Inside runsd: ${steps.map((line) => `${labels[line.what] ?? line.what} ${time(line.took)}`).join(", ")}`);
  }

  // What became of the request: as the service saw it, if its answer says so;
  // else what is known for certain.
  drawWay() {
    if (!this.request || this.own) return;
    const seen = this.seen();
    const before = new Map(this.request.headers.map(([name, value]) => [name, value]));
    const rows = (seen ? compared(before, seen) : this.documented(before)).map(([name, was, is, by]) => {
      const shown = is?.replace(/\beyJ([\w-]{6})[\w-]*\.[\w-]+\./, "eyJ$1… ");
      const now = make("td", { "data-label": seen ? "seen:" : "gets:" },
        is === null ? make("del", null, "removed") : was === is ? is : make("ins", null, shown));
      if (by) now.append(make("span", { class: "by" }, by));
      return make("tr", null, make("th", { scope: "row" }, name), make("td", { "data-label": "sent:" }, was ?? "–"), now);
    });
    const head = make("thead", null, make("tr", null, ...["Header", "Sent by this page", seen ? "Seen by the service" : "Sent by runsd"].map((text) => make("th", { scope: "col" }, text))));
    const help = make("p", { class: "help" }, seen
      ? "The service’s answer lists the headers that it got; signatures of tokens are left out."
      : "By what runsd does with each request, as it is configured by default. A service that echoes headers as JSON shows it done.");
    find("#way div").replaceChildren(make("table", { class: "pairs" }, head, make("tbody", null, ...rows)), help);
    find("#way").hidden = false;
  }

  // The headers in the answer of a service that echoes them: a list of pairs, or an object.
  seen() {
    try {
      const told = JSON.parse(this.text);
      const pairs = Array.isArray(told.headers) ? told.headers : Object.entries(told.headers);
      const named = pairs.map(([name, value]) => [String(name).toLowerCase(), String(value)]);
      const target = told.target ?? "";
      if (!named.some(([name]) => name === "host") && /^https?:/.test(target)) named.unshift(["host", new URL(target).host]);
      return named.length ? named : null;
    } catch {
      return null;
    }
  }

  documented(before) {
    const own = before.has("authorization");
    const rows = [["host", before.get("host") ?? this.asked.url, this.url?.replace(/^https?:\/\//, "") ?? "the host of the service’s URL", null]];
    const token = "Bearer eyJ… [signature elided]";
    if (own) rows.push(["authorization", before.get("authorization"), before.get("authorization"), "the application’s own stays"]);
    rows.push([own ? "x-serverless-authorization" : "authorization", null, token, "an identity token for this service"]);
    const agent = before.get("user-agent");
    const version = this.version?.split(" ")[1] ?? "VERSION";
    rows.push(["user-agent", agent ?? null, `runsd version=${version}${agent ? `; ${agent}` : ""}`, null]);
    for (const [name, value] of before) {
      if (!["host", "authorization", "user-agent"].includes(name)) rows.push([name, value, value, null]);
    }
    return rows;
  }

  table(details, heads, rows) {
    const head = make("thead", null, make("tr", null, ...heads.map((text) => make("th", { scope: "col" }, text))));
    const body = rows.map(([name, value]) => make("tr", null, make("th", { scope: "row" }, name), make("td", null, value)));
    details.querySelector("div").replaceChildren(make("table", { class: "pairs" }, head, make("tbody", null, ...body)));
    details.hidden = false;
  }
}

function compared(before, seen) {
  const after = new Map(seen);
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].map((name) => [name, before.get(name) ?? null, after.get(name) ?? null, claims(after.get(name))]);
}

// Whom a token is for, whose it is, and until when.
function claims(value) {
  const payload = /^Bearer [\w-]+\.([\w-]+)\./.exec(value ?? "")?.[1];
  try {
    const { aud, email, exp } = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/")));
    return `for ${aud}, as ${email}, until ${new Date(exp * 1000).toLocaleTimeString()}`;
  } catch {
    return null;
  }
}

function row(step, from, to, total, kind) {
  const bar = make("i");
  bar.style.left = `${(100 * from) / total}%`;
  bar.style.width = `${(100 * (to - from)) / total}%`;
  return make("tr", { class: kind }, make("th", { scope: "row" }, step), make("td", { class: "duration" }, time(to - from)),
    make("td", { class: "bar", "aria-hidden": "true" }, kind === "total" ? "" : bar));
}
