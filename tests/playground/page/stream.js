// Questions to the server of this page, and small helpers of all its parts.

// Asks, and gives the events of the answer as they come.
export async function* ask(path, question, signal) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
    signal,
  });
  if (!response.ok) throw new Error((await response.text()).trim());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

export const find = (selector) => document.querySelector(selector);

// An element: make("p", { class: "note" }, "text", another).
export function make(tag, attributes, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...content.filter((part) => part !== null && part !== undefined));
  return element;
}

export function time(ms) {
  if (ms >= 10000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 100 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

// For those who listen to the page.
export function say(text) {
  find("#said").textContent = text;
}

// Puts the address of the page into the clipboard, or where it can be copied from.
export async function copyLink(button) {
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = "Copied";
  } catch {
    button.textContent = "See the address bar";
  }
  say(button.textContent);
  setTimeout(() => (button.textContent = "Copy link"), 2000);
}

// What stands in the address behind "#tab?": a request or a lookup to share.
export function link(tab, parameters) {
  const text = new URLSearchParams(parameters).toString();
  return text ? `#${tab}?${text}` : `#${tab}`;
}

export function linked() {
  const [tab, text] = location.hash.slice(1).split(/\?(.*)/s);
  return { tab, parameters: new URLSearchParams(text ?? "") };
}
