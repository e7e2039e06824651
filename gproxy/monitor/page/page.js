// The page of operators. The monitor sends the content of the open view; all texts are set by textContent.

const $ = (id) => document.getElementById(id);
export const acts = document.body.dataset.acts === "yes";
const COLOURS = 6, WIDTH = 900, HEIGHT = 100, GAP = 5, SHORT = 16;
const MARKS = { reload: "none", reload_failed: "bad", ejected: "bad", block: "warn" };
const SECONDS = new Set(["age", "duration", "paused", "remaining"]);
let view = document.body.dataset.view;
let content = null;     // of the open view
let history_ = null;    // the figures about the gateway, for graphs
let source = null, lostAt = 0, timer = 0;
const sorted = new Map(), filters = new Map(), unfolded = new Map();

// Elements.

export function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);  // texts become text nodes
  return made;
}

function draw(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Cells.

const textOf = (cell) => (typeof cell === "string" ? cell : cell.t);
const isSame = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
const orderOf = (cell) => (typeof cell === "string" ? cell : cell.s ?? cell.t);

// Where there is room, a short text stays on its line, and short words stay whole.
function spanned(kind, text) {
  const isShort = (word) => word.length <= SHORT;
  const breaks = isShort(text) ? "short" : text.split(/[\s-]/).every(isShort) ? "words" : "";
  return make("span", { class: `${kind} ${breaks}`.trim() || null }, text);
}

function shown(cell) {
  if (typeof cell === "string") return [spanned("", cell)];
  if (cell.actions) return acts ? cell.actions.map(button) : [];
  if (cell.more) return [unfolding(cell)];
  const text = cell.time ? new Date(cell.time * 1000).toLocaleTimeString() : cell.t;
  if (cell.bar) return [make("span", {}, text), ...bar(cell.bar)];
  return [spanned(cell.state ? `state ${cell.state}` : cell.code ? "code" : "", text)];
}

export function bar(parts) {
  const total = parts.reduce((sum, [, seconds]) => sum + seconds, 0) || 1;
  const svg = draw("svg", { class: "bar", "aria-hidden": "true" }), list = make("ul", { class: "parts" });
  let start = 0;
  parts.forEach(([name, seconds, text], index) => {
    const colour = `p${Math.min(index, COLOURS - 1)}`, width = (100 * seconds) / total;
    svg.append(draw("rect", { class: colour, x: `${start}%`, width: `${width}%`, height: "100%" }));
    list.append(make("li", { class: colour }, `${name} ${text}`));
    start += width;
  });
  return [svg, list];
}

function button(action) {
  return make("button", { type: "button", "data-action": action.label, onclick: () => confirmed(action) }, action.label);
}

function unfolding(cell) {
  if (cell.by) {  // a module shows the details elsewhere
    return make("button", { type: "button", class: "unfold by", onclick: async () => (await import(cell.by)).open(cell.more) }, cell.t);
  }
  const isOpen = unfolded.has(cell.more);
  const made = make("button", { type: "button", class: "unfold", "aria-expanded": String(isOpen) }, cell.t);
  made.addEventListener("click", () => unfold(made, cell.more));
  return made;
}

// Tables.

function table(data) {
  const id = data.id, heading = `h-${id}`;
  const field = make("input", {
    type: "search", placeholder: "Filter", "aria-label": `Filter: ${data.caption}`, autocomplete: "off", spellcheck: "false",
    oninput: () => { filters.set(id, field.value); filter(id); },
  });
  field.value = filters.get(id) ?? "";
  const head = make("tr", { role: "row" }, ...data.columns.map((column, index) => header(id, column, index)));
  return make("section", { id: `t-${id}`, "aria-labelledby": heading },
    make("div", { class: "head" }, make("h3", { id: heading }, data.caption), ...copying(data.commands), field),
    make("table", { role: "table" }, make("caption", {}, data.caption),
      make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" })),
    make("p", { class: "empty", hidden: true }));
}

function header(id, [label, kind], index) {
  if (label === "Do") return make("th", { role: "columnheader", scope: "col" }, acts ? "Actions" : "");
  const sort = make("button", { type: "button", onclick: () => sortBy(id, index, kind) }, label);
  return make("th", { role: "columnheader", scope: "col", class: `${kind} sorts` }, sort);
}

function sortBy(id, index, kind) {
  const before = sorted.get(id);
  const first = kind === "number" ? -1 : 1;  // of numbers the highest first
  if (before?.index !== index) sorted.set(id, { index, direction: first });
  else if (before.direction === first) sorted.set(id, { index, direction: -first });
  else sorted.delete(id);
  arrange(tableOf(id), true);
}

const tableOf = (id) => content.tables.find((one) => one.id === id);

function row(data, [key, cells]) {
  const made = make("tr", { role: "row" });
  made.dataset.key = key;
  made.known = cells;
  cells.forEach((cell, index) => {
    const [label, kind] = data.columns[index];
    const name = !cell.actions ? kind : acts ? "do" : "nothing";
    made.append(make("td", { role: "cell", class: name, "data-label": label }, ...shown(cell)));
  });
  return made;
}

function fill(data) {
  const section = $(`t-${data.id}`), body = section.querySelector("tbody");
  const old = new Map([...body.children].map((one) => [one.dataset.key, one]));
  for (const [key, cells] of data.rows) {
    const before = old.get(key);
    if (before) change(data, before, cells);
    else body.append(row(data, [key, cells]));
    old.delete(key);
  }
  const present = new Set(data.rows.map(([key]) => key));
  for (const [key, one] of old) {
    if (!key.startsWith("+") || !present.has(key.slice(1))) one.remove();  // "+" marks the details of a row
  }
  arrange(data);
  describe(data, section);
}

function describe(data, section) {
  const count = data.rows.length, note = section.querySelector(".empty");
  section.querySelector("table").hidden = count === 0;
  section.querySelector(".head input").hidden = count < 6 && !filters.get(data.id);
  note.hidden = count > 0 && count === data.count;
  setText(note, count ? `${count} of ${data.count} are shown.` : data.empty);
}

function change(data, element, cells) {
  cells.forEach((cell, index) => {
    const place = element.children[index];
    if (isSame(element.known?.[index], cell)) return;
    const text = place.firstElementChild;
    const isPlain = place.children.length === 1 && text?.tagName === "SPAN" && !cell.bar && !cell.more && !cell.actions;
    if (isPlain) {
      const [fresh] = shown(cell);
      if (text.className !== fresh.className) text.className = fresh.className;
      setText(text, fresh.textContent);
    } else if (cell.more && text?.classList.contains("unfold")) {
      setText(text, cell.t);
    } else {
      const chosen = place.contains(document.activeElement) ? document.activeElement.dataset.action : null;
      place.replaceChildren(...shown(cell));
      if (chosen !== null) (place.querySelector(`[data-action="${chosen}"]`) ?? place.querySelector("button"))?.focus();
    }
  });
  element.known = cells;
}

function arrange(data, isAsked = false) {
  const section = $(`t-${data.id}`), body = section.querySelector("tbody"), order = sorted.get(data.id);
  section.querySelectorAll("th").forEach((one, index) => {
    if (order?.index === index) one.setAttribute("aria-sort", order.direction > 0 ? "ascending" : "descending");
    else one.removeAttribute("aria-sort");
  });
  // Rows stay where they are while somebody works with them, unless new ones are what the table is for.
  if (!isAsked && !data.flows && (body.matches(":hover") || body.contains(document.activeElement))) return filter(data.id);
  const rows = [...data.rows];
  if (order) rows.sort(([, a], [, b]) => order.direction * compare(orderOf(a[order.index]), orderOf(b[order.index])));
  const present = new Map([...body.children].map((one) => [one.dataset.key, one]));
  let before = null;
  for (const [key] of rows) {
    for (const one of [present.get(key), present.get(`+${key}`)]) {
      if (!one) continue;
      const next = before ? before.nextSibling : body.firstChild;
      if (next !== one) body.insertBefore(one, next);
      before = one;
    }
  }
  filter(data.id);
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? 1 : -1;  // no value comes before the values
  return a.localeCompare(b, undefined, { numeric: true });
}

function filter(id) {
  const words = (filters.get(id) ?? "").toLowerCase().split(" ").filter(Boolean);
  for (const one of $(`t-${id}`).querySelectorAll("tbody > tr")) {
    const text = words.length ? one.textContent.toLowerCase() : "";
    one.hidden = !words.every((word) => text.includes(word));
  }
}

// Details of a row: fetched when it is unfolded.

async function unfold(opener, path) {
  const line = opener.closest("tr"), key = `+${line.dataset.key}`;
  const open = [...line.parentElement.children].find((one) => one.dataset.key === key);
  opener.setAttribute("aria-expanded", String(!open));
  if (open) { open.remove(); unfolded.delete(path); return; }
  unfolded.set(path, true);
  const cell = make("td", { role: "cell", colspan: String(line.children.length) }, "…");
  const added = make("tr", { role: "row", class: "detail" }, cell);
  added.dataset.key = key;
  line.after(added);
  try {
    cell.replaceChildren(details(await ask("GET", path)));
  } catch (error) {
    cell.replaceChildren(make("span", { class: "state bad" }, error.message));
  }
}

function details(found) {
  const list = make("dl");
  for (const [name, value] of Object.entries(found)) {
    if (value === null || value === "" || (Array.isArray(value) && !value.length)) continue;
    const text = SECONDS.has(name) && typeof value === "number" ? `${value} s` : value;
    list.append(make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, ...detail(text)));
  }
  return list;
}

function detail(value) {
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return [make("pre", {}, value.join("\n"))];
  if (Array.isArray(value)) return value.map((one) => make("div", {}, ...detail(one)));
  if (typeof value === "object") return [details(value)];
  return [make("span", { class: "code" }, String(value))];
}

// Actions: confirmed in a dialog, which shows the same as commands.

export async function ask(method, path, body) {
  const options = { method, headers: { Accept: "application/json" } };
  if (method !== "GET") {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body ?? {});
  }
  const response = await fetch(path, options);
  if (response.status === 401) location.assign("/login");
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.detail || `${response.status} ${response.statusText}`);
  return found;
}

function confirmed(action) {
  const dialog = $("dialog"), fields = {};
  const problem = make("p", { role: "alert", class: "state bad" });
  const inputs = (action.inputs ?? []).map(({ name, label, value, kind, optional }) => {
    fields[name] = make("input", { name, value, type: kind === "number" ? "number" : "text", min: kind === "number" ? "0" : null, required: !optional });
    fields[name].dataset.kind = kind;
    return make("label", {}, label, fields[name]);
  });
  const commands = make("div"), go = make("button", { class: "main" }, action.label);
  const body = () => ({ ...action.body, ...valuesOf(fields) });
  const tell = () => commands.replaceChildren(...commandsOf(action, body()).map(command));
  inputs.forEach((one) => one.addEventListener("input", tell));
  const form = make("form", { method: "dialog" },
    make("h2", { id: "question" }, action.ask), ...inputs, commands, problem,
    make("div", { class: "row" }, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.textContent = "";
    try {
      const answer = await ask(action.method, action.path, body());
      dialog.close();
      announce(`${action.label}: done${answer.generation ? `, generation ${answer.generation}` : ""}`);
    } catch (error) {
      problem.textContent = error.message;
      go.disabled = false;
    }
  });
  tell();
  dialog.replaceChildren(form);
  dialog.showModal();
}

function valuesOf(fields) {
  const found = Object.entries(fields).filter(([, field]) => field.value !== "");
  return Object.fromEntries(found.map(([name, field]) => [name, field.dataset.kind === "number" ? Number(field.value) : field.value]));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(method, path, body) {
  const parts = ["curl"];
  if (method !== "GET") parts.push(`-X ${method} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(body ?? {}))}`);
  const { socket } = document.body.dataset;
  if (socket) return [...parts, "--unix-socket", socket, quoted(`http://localhost${path}`)].join(" ");
  return [...parts, `-H "Authorization: Bearer $TOKEN"`, quoted(location.origin + path)].join(" ");
}

const own = (text) => `${text} --config ${document.body.dataset.config}`;

function commandsOf(action, body) {
  const word = (value) => (/^[\w.-]+$/.test(value) ? value : quoted(String(value)));
  let text = action.command ?? "";
  for (const [name, value] of Object.entries(body)) text = text.replace(`{${name}}`, () => word(value));
  text = text.replace(/( --\w+)? \S*\{\w+\}/g, "");
  return [...(text ? [own(text)] : []), curl(action.method, action.path, body)];
}

function command(text) {
  const copy = make("button", { type: "button", "aria-label": `Copy: ${text}`, onclick: async () => {
    await navigator.clipboard?.writeText(text);
    copy.textContent = "Copied";
  } }, "Copy");
  return make("div", { class: "command" }, make("code", {}, text), copy);
}

function copying(commands) {
  if (!commands?.length) return [];
  const lines = commands.map((one) => command(one.startsWith("/") ? curl("GET", one) : own(one)));
  return [make("details", { class: "copy" }, make("summary", {}, "As a command"), make("div", {}, ...lines))];
}

// The view.

function render(data) {
  content = data;
  const graphs = data.graphs.length ? [make("div", { class: "graphs" }, ...data.graphs.map(figure))] : [];
  $("view").replaceChildren(
    make("ul", { class: "notes", hidden: true }), make("dl", { class: "facts", hidden: true }),
    make("div", { class: "actions", hidden: true }), ...graphs, ...data.tables.map(table));
  document.title = document.title.replace(/^.*? · /, `${data.title} · `);
  setText($("heading"), data.title);
  renderTop(data);
  data.tables.forEach(fill);
  if (graphs.length) loadHistory();
}

function renderTop(data) {
  const [notes, facts, actions] = ["notes", "facts", "actions"].map((name) => $("view").querySelector(`.${name}`));
  notes.replaceChildren(...data.notes.map(([state, text]) => make("li", { class: `note ${state}` }, text)));
  facts.replaceChildren(...data.facts.map(([name, cell]) => make("div", {}, make("dt", {}, name), make("dd", {}, ...shown(cell)))));
  if (!isSame(actions.known, data.actions)) actions.replaceChildren(...(acts ? data.actions.map(button) : []));
  actions.known = data.actions;
  notes.hidden = !data.notes.length;
  facts.hidden = !data.facts.length;
  actions.hidden = !acts || !data.actions.length;
}

function update(changed) {
  for (const part of ["notes", "facts", "actions"]) if (changed[part]) content[part] = changed[part];
  renderTop(content);
  for (const one of changed.tables) {
    const data = tableOf(one.id);
    if (!data) { render({ ...content, tables: [...content.tables, one] }); continue; }
    const rows = new Map(data.rows);
    for (const [key, cells] of one.rows) {
      rows.set(key, Array.isArray(cells) ? cells : Object.assign([...rows.get(key)], cells));
    }
    data.rows = (one.keys ?? [...rows.keys()]).map((key) => [key, rows.get(key)]);
    data.count = one.count;
    fill(data);
  }
}

// Graphs.

function figure(spec) {
  const keys = spec.lines.map(([name, label], index) => make("span", { class: `key k${index}`, "data-name": name }, `${label} `, make("b")));
  const svg = draw("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": spec.title });
  const made = make("figure", { class: "graph", id: `g-${spec.id}` },
    make("figcaption", {}, make("strong", {}, spec.title), ...keys), svg,
    make("p", { class: "axis" }, make("span"), make("span", { class: "at" }), make("span", {}, "now")));
  svg.addEventListener("pointermove", (event) => point(made, spec, event));
  svg.addEventListener("pointerleave", () => { delete made.dataset.at; plot(made, spec); });
  return made;
}

async function loadHistory() {
  try {
    const found = await ask("GET", "/v1/figures?about=gateway");
    history_ = { times: found.times.map(Date.parse), series: {}, marks: found.marks, span: found.span * 1000, gap: GAP * found.interval * 1000 };
    for (const one of found.figures) history_.series[one.name] = one.values;
    plotAll();
  } catch { /* the next connection tries again */ }
}

function addSample(values) {
  if (!history_) return;
  history_.times.push(Date.parse(values.time));
  for (const name of new Set([...Object.keys(history_.series), ...Object.keys(values)])) {
    if (name === "time" || name === "reasons") continue;
    history_.series[name] ??= Array(history_.times.length - 1).fill(null);
    history_.series[name].push(values[name] ?? null);
  }
  const first = history_.times.findIndex((time) => time > Date.now() - history_.span);
  if (first > 0) {
    history_.times.splice(0, first);
    for (const values_ of Object.values(history_.series)) values_.splice(0, first);
  }
  plotAll();
}

function plotAll() {
  for (const spec of content?.graphs ?? []) {
    const made = $(`g-${spec.id}`);
    if (made && history_) plot(made, spec);
  }
}

function plot(made, spec) {
  const { times, series, marks } = history_, until = times.at(-1) ?? Date.now();
  const span = Math.min(history_.span, Math.max(60000, until - (times[0] ?? until))), since = until - span;
  const x = (time) => ((WIDTH * (time - since)) / span).toFixed(1);
  const lines = spec.lines.map(([name]) => series[name] ?? []);
  const top = Math.max(0, ...lines.flat().filter((value) => value !== null)) || 1;
  const least = Math.min(top / 10, ...lines.flat().filter((value) => value));
  const height = (value) => (spec.kind !== "log" ? value / top : value > least ? Math.log(value / least) / Math.log(top / least) : 0);
  const parts = [draw("path", { class: "grid", d: `M0 0H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT}H${WIDTH}` })];
  for (const mark of marks) {
    const time = Date.parse(mark.time), kind = MARKS[mark.kind];
    if (kind && time > since) {
      const title = draw("title");
      title.textContent = mark.text;
      parts.push(draw("path", { class: `mark ${kind}`, d: `M${x(time)} 0V${HEIGHT}` }, title));
    }
  }
  lines.forEach((values, index) => {
    let line = "", area = "", start = null, last = null;
    const close = () => { if (start !== null) area += `L${last} ${HEIGHT}L${start} ${HEIGHT}Z`; start = null; };
    values.forEach((value, place) => {
      if (value === null) return close();
      if (place && times[place] - times[place - 1] > history_.gap) close();
      const to = `${x(times[place])} ${(HEIGHT * (1 - height(value))).toFixed(1)}`;
      const piece = `${start === null ? "M" : "L"}${to}`;
      line += piece;
      area += piece;
      start ??= x(times[place]);
      last = x(times[place]);
    });
    close();
    if (!index) parts.push(draw("path", { class: "area", d: area }));
    parts.push(draw("path", { class: `k${index}`, d: line }));
  });
  const at = made.dataset.at === undefined ? times.length - 1 : nearest(times, since + span * made.dataset.at);
  if (made.dataset.at !== undefined && times.length) parts.push(draw("path", { class: "cursor", d: `M${x(times[at])} 0V${HEIGHT}` }));
  made.querySelector(".plot").replaceChildren(...parts);
  const label = [];
  made.querySelectorAll(".key").forEach((key, index) => {
    const text = written(lines[index][at], spec.kind);
    setText(key.querySelector("b"), text);
    label.push(`${spec.lines[index][1]} ${text}`);
  });
  const [begin, middle] = made.querySelectorAll(".axis span");
  setText(begin, span < 120000 ? `${Math.round(span / 1000)} s ago` : `${Math.round(span / 60000)} min ago`);
  setText(middle, made.dataset.at === undefined ? `highest ${written(top, spec.kind)}${spec.kind === "log" ? ", logarithmic" : ""}` : new Date(times[at]).toLocaleTimeString());
  made.querySelector(".plot").setAttribute("aria-label", `${spec.title}: ${label.join(", ")}; highest ${written(top, spec.kind)}`);
}

function point(made, spec, event) {
  const box = event.currentTarget.getBoundingClientRect();
  made.dataset.at = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  if (history_) plot(made, spec);
}

const nearest = (times, wanted) => times.reduce((best, time, place) => (Math.abs(time - wanted) < Math.abs(times[best] - wanted) ? place : best), 0);

function written(value, kind) {
  if (value === null || value === undefined) return "\u2013";
  if (kind !== "rate" && kind !== "number") return value < 1 ? `${(value * 1000).toPrecision(3).replace(/\.?0+$/, "") || 0} ms` : `${value.toFixed(2)} s`;
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en").replaceAll(",", "\u202f") : value.toPrecision(2);
}

// The stream of events.

function connect() {
  source?.close();
  clearTimeout(timer);
  const url = `/v1/events?view=${encodeURIComponent(view)}`;
  source = new EventSource(url);
  source.addEventListener("view", (event) => { live(); render(JSON.parse(event.data)); });
  source.addEventListener("rows", (event) => { live(); if (content) update(JSON.parse(event.data)); });
  source.addEventListener("values", (event) => { live(); addSample(JSON.parse(event.data)); });
  source.addEventListener("change", (event) => {
    const change = JSON.parse(event.data);
    history_?.marks.push(change);
    announce(`${change.kind.replaceAll("_", " ")}: ${change.text}`);
  });
  source.onerror = lost;
}

function live() {
  if (!lostAt && $("live").dataset.is === "live") return;
  if (lostAt) announce("Connected again");
  lostAt = 0;
  $("live").dataset.is = "live";
  $("live").replaceChildren(make("span", { class: "state ok" }, "live"));
  document.body.classList.remove("lost");
}

function lost() {
  if (!lostAt) {
    lostAt = Date.now();
    const text = `disconnected since ${new Date(lostAt).toLocaleTimeString()}`;
    $("live").dataset.is = "lost";
    $("live").replaceChildren(make("span", { class: "state bad" }, text));
    announce(text);
  }
  document.body.classList.add("lost");
  source?.close();
  clearTimeout(timer);
  timer = setTimeout(reconnect, 2000);
}

async function reconnect() {
  if (document.hidden) return;
  try {
    await ask("GET", "/v1/figures?since=1s&about=gateway");  // an EventSource does not tell a 401
    connect();
  } catch { lost(); }
}

export function announce(text) {
  $("announce").textContent = text;
}

// The frame: views, menu, theme.

function open(name, isNew = true) {
  if (isNew) history.pushState({}, "", `/?view=${name}`);
  view = name;
  document.body.dataset.view = name;
  document.querySelectorAll("nav a").forEach((link) => {
    if (nameOf(link) === name) {
      link.setAttribute("aria-current", "page");
      setText($("menu"), link.textContent);
    } else link.removeAttribute("aria-current");
  });
  $("menu").setAttribute("aria-expanded", "false");
  connect();
}

const nameOf = (link) => new URL(link.href).searchParams.get("view");

function chooseTheme() {
  const root = document.documentElement, themes = ["", "light", "dark"];
  const now = root.dataset.theme ?? "", next = themes[(themes.indexOf(now) + 1) % 3];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  document.cookie = `gproxy_theme=${next}; path=/; SameSite=Strict; max-age=${next ? 31536000 : 0}`;
  nameTheme();
}

function nameTheme() {
  const name = document.documentElement.dataset.theme ?? "system";
  $("theme").replaceChildren("\u25D0", make("span", {}, ` ${name}`));
  $("theme").setAttribute("aria-label", `Theme: ${name}`);
}

document.documentElement.classList.add("js");
$("menu").hidden = $("theme").hidden = false;
nameTheme();
$("theme").addEventListener("click", chooseTheme);
$("menu").addEventListener("click", () => {
  $("menu").setAttribute("aria-expanded", String($("menu").getAttribute("aria-expanded") !== "true"));
});
$("views").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  open(nameOf(link));
  $("main").focus();
});
addEventListener("popstate", () => open(new URLSearchParams(location.search).get("view") ?? "overview", false));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) { source?.close(); clearTimeout(timer); } else connect();
});
if (!document.hidden) connect();
