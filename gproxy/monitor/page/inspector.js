// The inspector of `gproxy dev`: one request beside the list of the last ones. All texts are set by textContent.

import { acts, announce, ask, bar, make } from "/page.js";

const MOST_BASE64 = 1024, SHORT = 6, MOST_DEPTH = 6;
const $ = (id) => document.getElementById(id);
let shown = null;  // the path of the request in the panel

document.head.append(make("link", { rel: "stylesheet", href: "/inspector.css" }));

// Opening, closing, moving.

export async function open(path) {
  shown = path;
  mark();
  const panel = $("inspected") ?? placed();
  document.body.classList.add("inspecting");
  try {
    const found = await ask("GET", path);
    if (shown !== path) return;
    panel.replaceChildren(...contentOf(found));
    panel.scrollTop = 0;
    announce(`${found.method} ${found.target}: ${found.status}`);
  } catch (error) {
    panel.replaceChildren(heading("Request", []), make("p", { class: "state bad" }, error.message));
  }
  if (matchMedia("(max-width: 75rem)").matches) panel.focus();
}

function placed() {
  const panel = make("section", { id: "inspected", "aria-labelledby": "inspected-title", tabindex: "-1" });
  panel.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
  $("main").append(panel);
  return panel;
}

function close() {
  const last = shown?.split("/").pop();
  shown = null;
  document.body.classList.remove("inspecting");
  $("inspected")?.remove();
  mark();
  const row = [...document.querySelectorAll("#t-inspected tbody tr")].find((one) => one.dataset.key === last);
  (row?.querySelector(".unfold") ?? $("main")).focus();
}

// The row of the shown request is marked; the list is made anew when the page connects again.
function mark() {
  for (const one of document.querySelectorAll("#t-inspected tbody tr")) {
    const isShown = shown !== null && shown.endsWith(`/${one.dataset.key}`);
    one.classList.toggle("shown", isShown);
    const button = one.querySelector(".unfold");
    if (isShown) button?.setAttribute("aria-current", "true");
    else button?.removeAttribute("aria-current");
  }
}

new MutationObserver(() => {
  mark();
  if (document.body.dataset.view !== "inspector" && shown) { shown = null; $("inspected")?.remove(); document.body.classList.remove("inspecting"); }
}).observe($("view"), { childList: true, subtree: true });

$("view").addEventListener("click", (event) => {
  if (!event.target.closest("button, a, input, summary")) event.target.closest("#t-inspected tbody tr")?.querySelector(".unfold")?.click();
});

$("view").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && shown) return close();
  if (!event.target.matches("#t-inspected .unfold") || !["ArrowDown", "ArrowUp"].includes(event.key)) return undefined;
  const all = [...document.querySelectorAll("#t-inspected tbody tr:not([hidden]) .unfold")];
  const next = all[all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
  event.preventDefault();
  next?.focus();
  if (next && shown) next.click();
  return undefined;
});

// The content of the panel.

function contentOf(found) {
  const parts = Object.entries(found.account).filter(([, seconds]) => seconds > 0).sort(([, a], [, b]) => b - a);
  const time = parts.length ? [make("div", { class: "time" }, ...bar(parts.map(([name, seconds]) => [name.replace("handler.", ""), seconds, short(seconds)])))] : [];
  const output = make("div", { id: "inspected-output" });
  return [
    heading(`${found.method} ${found.target}`, factsOf(found)),
    make("div", { class: "actions" }, ...actionsOf(found, output)), output, ...time,
    journey(found),
    make("div", { class: "messages" },
      message("Request, as it came", `${found.request.line}`, found.request),
      found.response ? message("Response, as it went out", `${found.response.status} ${found.response.phrase}`.trim(), found.response)
        : block("Response", make("p", { class: "none" }, "none: the client has left, or the response was broken off"))),
    ...attempts(found),
    ...(found.log.length ? [block("Error log of this request", ...found.log.map((one) => make("pre", { class: one.level === "error" ? "bad" : "warn" }, `${one.level}: ${one.message}`)))] : []),
  ];
}

function heading(text, facts) {
  return make("div", { class: "title" },
    make("h3", { id: "inspected-title" }, text),
    make("button", { type: "button", class: "back", onclick: close, "aria-label": "Close the request" }, "Close"),
    make("p", { class: "line" }, ...facts.flatMap((one) => [one, " "])));
}

function factsOf(found) {
  const kind = found.status >= 500 ? "bad" : found.status >= 400 ? "warn" : "ok";
  const facts = [make("span", { class: `state ${kind}` }, `${found.status} ${found.reason}`.trim()), make("span", {}, short(found.duration))];
  if (found.route) facts.push(make("span", {}, `route ${found.route}`));
  if (found.upstream) facts.push(make("span", {}, `to ${found.upstream}${found.backend ? ` (${found.backend})` : ""}`));
  if (found.user) facts.push(make("span", {}, `user ${found.user}`));
  facts.push(make("span", {}, `from ${found.peer}`), make("span", {}, new Date(found.time).toLocaleTimeString()));
  if (found.report) facts.push(make("span", { class: "state warn" }, `only reported: ${found.report}`));
  return facts;
}

function short(seconds) {
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  const milliseconds = seconds * 1000;
  return `${milliseconds >= 100 ? Math.round(milliseconds) : milliseconds.toPrecision(2)} ms`;
}

// What each step changed: down in the request, up in the response.

function journey(found) {
  const rows = [];
  if (found.entry.length) rows.push(step("the gateway", "at entry", 0, found.entry, [], ""));
  for (const one of found.steps) {
    const time = found.account[`handler.${one.name}`];
    const name = one.name || (found.upstream ? `to ${found.upstream}` : "the action");
    rows.push(step(one.name === "(gateway)" ? "the gateway" : name, noteOf(one, time), one.depth, one.down, one.up, one.error));
  }
  if (!rows.length) return block("What each step changed", make("p", { class: "none" }, "No step has run."));
  const head = ["Step", "Request, on its way in", "Response, on its way out"].map((one) => make("th", { scope: "col" }, one));
  return block("What each step changed", make("table", { class: "journey" },
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

function noteOf(one, time) {
  const notes = [];
  if (time !== undefined) notes.push(short(time));
  if (one.name && !one.calls) notes.push(one.error ? "did not pass on" : `answered ${one.status} itself`);
  if (one.calls > 1) notes.push(`called next ${one.calls} times`);
  if (!one.name && one.status) notes.push(`${one.status}`);
  return notes.join(" · ");
}

function step(name, note, depth, down, up, error) {
  const first = make("th", { scope: "row", class: `d${Math.min(depth, MOST_DEPTH)}` }, make("span", { class: "name" }, name), make("span", { class: "dim" }, note));
  if (error) first.append(make("span", { class: "state bad" }, error));
  return make("tr", {}, first,
    make("td", { "data-label": "Request" }, ...diff(down)), make("td", { "data-label": "Response" }, ...diff(up)));
}

function diff(changes) {
  if (!changes.length) return [make("span", { class: "none" }, "\u2013")];
  return [make("ul", { class: "diff" }, ...changes.flatMap(change))];
}

function change({ part, before, after, diff: lines }) {
  const name = part.replace(/^header /, "");
  if (lines?.length && (lines.length > 3 || !/^\(/.test(before))) {
    return [make("li", {}, make("span", { class: "dim" }, `${name}:`), make("pre", { class: "lines" }, ...lines.map(line)))];
  }
  const items = [];
  if (before !== null) items.push(sign("gone", "\u2212", "removed", name, before));
  if (after !== null) items.push(sign("new", "+", before === null ? "added" : "now", name, after));
  return items;
}

function line(text) {
  const kind = { "+": "new", "-": "gone", "@": "dim" }[text[0]] ?? "";
  return make("span", { class: kind }, `${text}\n`);
}

function sign(kind, mark_, word, name, value) {
  return make("li", { class: kind },
    make("span", { "aria-hidden": "true" }, `${mark_} `), make("span", { class: "hidden" }, `${word}: `),
    make("b", {}, `${name}: `), value || make("span", { class: "dim" }, "(empty)"));
}

// Messages.

function block(title, ...content) {
  return make("div", { class: "block" }, make("h4", {}, title), ...content);
}

function message(title, line_, found) {
  return block(title, head(line_, found.headers), ...bodyOf(found.body, found.headers));
}

function head(line_, pairs) {
  const lines = pairs.flatMap(([name, value]) => [make("span", { class: "dim" }, `${name}: `), `${value}\n`]);
  return make("pre", { class: "fields" }, make("b", {}, `${line_}\n`), ...lines);
}

function bodyOf(body, pairs) {
  if (!body || !body.size) return [make("p", { class: "none" }, "no body")];
  const notes = [size(body.size)];
  if (body.decoded_from) notes.push(`shown without ${body.decoded_from}`);
  if (!body.is_whole) notes.push(`the first ${size(body.kept)} are kept`);
  const text = body.text === null ? `${body.base64.slice(0, MOST_BASE64)}${body.base64.length > MOST_BASE64 ? "\u2026" : ""}` : pretty(body.text, pairs);
  if (body.text === null) notes.push("no text: in base64");
  return [make("p", { class: "dim note-of-body" }, notes.join(" · ")), make("pre", { class: "body", tabindex: "0", "aria-label": "Body" }, text)];
}

function pretty(text, pairs) {
  const kind = pairs.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "";
  if (!/json/i.test(kind) && !/^\s*[[{]/.test(text)) return text;
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

function size(count) {
  return count < 1000 ? `${count} bytes` : count < 1e6 ? `${(count / 1000).toPrecision(3)} kB` : `${(count / 1e6).toPrecision(3)} MB`;
}

function callOf(attempt) {
  return attempt.shared ? " \u2013 a call of a look-up, whose result other requests get, too" : " \u2013 a call of a handler";
}

function attempts(found) {
  if (!found.attempts.length) return [];
  const items = found.attempts.map((one) => {
    const outcome = one.response ? `${one.response.status}` : one.error || "no answer";
    const kind = !one.response || one.response.status >= 500 ? "bad" : one.response.status >= 400 ? "warn" : "ok";
    const summary = make("summary", {}, make("span", { class: `state ${kind}` }, outcome), ` ${one.upstream}, ${one.backend}, ${short(one.seconds)}`,
      one.of_handler ? make("span", { class: "dim" }, callOf(one)) : "");
    const sent = one.request ? [message("Sent", one.request.line, one.request)] : [];
    const got = one.response ? [message("Answered", `${one.response.status}`, one.response)] : [];
    return make("details", {}, summary, make("div", { class: "messages" }, ...sent, ...got));
  });
  const omitted = found.omitted_attempts ? [make("p", { class: "none" }, `${found.omitted_attempts} more are not kept.`)] : [];
  return [block(found.attempts.length > 1 ? "Attempts at backends" : "What the backend got and answered", ...items, ...omitted)];
}

// Actions.

function actionsOf(found, output) {
  const path = `/v1/inspector/${found.number}`;
  const copies = [["curl", "Copy as curl"], ["pytest", "Copy as pytest test"]].map(([as, label]) =>
    make("button", { type: "button", onclick: (event) => copy(event.target, `${path}/copy?as=${as}`, as, output) }, label));
  if (!acts) return copies;
  return [
    make("button", { type: "button", class: "main", onclick: () => again(path, output) }, "Send again"),
    make("button", { type: "button", onclick: () => edit(found, path, output) }, "Edit and send"), ...copies,
  ];
}

async function copy(button, path, as, output) {
  const response = await fetch(path, { headers: { Accept: "text/plain, application/json" } });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    output.replaceChildren(make("p", { role: "alert", class: "state bad" }, problem.detail || `${response.status}`));
    return;
  }
  const text = await response.text();
  let isCopied = true;
  try { await navigator.clipboard.writeText(text); } catch { isCopied = false; }
  const hint = as === "pytest" ? "a module for pytest; save it as test_….py beside the settings" : "a command for a shell";
  output.replaceChildren(make("div", { class: "copied" },
    make("p", {}, make("span", { class: "state ok" }, isCopied ? "Copied" : "To copy"), ` ${hint}. What was sent is in it, secrets too.`),
    make("pre", { tabindex: "0", "aria-label": "The copy" }, text),
    make("button", { type: "button", onclick: () => { output.replaceChildren(); button.focus(); } }, "Hide")));
  announce(isCopied ? "Copied" : "Ready to copy");
}

async function again(path, output) {
  try {
    await showSent(await ask("POST", `${path}/send`, {}), output);
  } catch (error) {
    output.replaceChildren(make("p", { role: "alert", class: "state bad" }, error.message));
  }
}

async function showSent(sent, output) {
  announce(`Sent: ${sent.status}`);
  if (sent.number !== null) await open(`/v1/inspector/${sent.number}`);
  else output.replaceChildren(make("p", { class: "state ok" }, `Sent: ${sent.status}`));
}

function edit(found, path, output) {
  const dialog = $("dialog"), problem = make("p", { role: "alert", class: "state bad" });
  const text = found.request.body?.text ?? "", isText = !found.request.body || (found.request.body.text !== null && !found.request.body.decoded_from);
  const lines = found.request.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  const method = make("input", { name: "method", value: found.method, required: true, spellcheck: "false", autocomplete: "off" });
  const target = make("input", { name: "target", value: found.target, required: true, spellcheck: "false", autocomplete: "off" });
  const headers = make("textarea", { name: "headers", rows: String(Math.min(SHORT + 4, found.request.headers.length + 1)), spellcheck: "false" });
  const body = make("textarea", { name: "body", rows: String(SHORT), spellcheck: "false", disabled: !isText });
  headers.value = lines;
  body.value = isText ? text : "(no text: it is sent as it came)";
  const form = make("form", { method: "dialog", class: "edit" }, make("h2", { id: "question" }, "Edit and send"),
    make("div", { class: "pair" }, make("label", {}, "Method", method), make("label", {}, "Path and query", target)),
    make("label", {}, "Headers, a line for each", headers), make("label", {}, "Body", body), problem,
    make("div", { class: "row" }, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), make("button", { class: "main" }, "Send")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const changes = { method: method.value.trim(), target: target.value.trim() };
    if (headers.value !== lines) changes.headers = headers.value;
    if (isText && body.value !== text) changes.body = body.value;
    try {
      const sent = await ask("POST", `${path}/send`, changes);
      dialog.close();
      await showSent(sent, output);
    } catch (error) {
      problem.textContent = error.message;
    }
  });
  dialog.replaceChildren(form);
  dialog.showModal();
}
