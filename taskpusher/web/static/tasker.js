// What the pages can do beside being read: they keep up with the tasker, listen to keys, and send forms
// without leaving the page. Everything here only adds: without it the same links and forms work.

const root = document.documentElement;
const prefix = root.dataset.prefix;
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const one = (selector, inside = document) => inside.querySelector(selector);

const kept = {
  get(name) {
    try { return localStorage.getItem(name); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(name, value); } catch { /* storage is refused: for this page only */ }
  },
};

// ---- words about time and numbers, as the server writes them ----

function span(seconds) {
  if (seconds < 1) return `${Math.round(Math.max(0, seconds) * 1000)}ms`;
  if (seconds < 120) return `${seconds >= 10 ? Math.round(seconds) : +seconds.toPrecision(2)}s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (minutes < 60) return `${minutes}m`;
  if (hours < 24) return `${hours}h${minutes % 60 ? `${minutes % 60}m` : ""}`;
  return `${days.toLocaleString("en")}d${hours % 24 ? `${hours % 24}h` : ""}`;
}

let ahead = Number(root.dataset.now) - Date.now(); // of the server's clock before ours, in ms

function ago(ms) {
  const seconds = (Date.now() + ahead - ms) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

function tellTimes(inside = document) {
  for (const time of all("time[data-ago]", inside)) {
    const text = ago(Number(time.dataset.ago));
    if (time.textContent !== text) time.textContent = text;
  }
}

function localTimes(inside = document) {
  for (const time of all("time[data-ago]", inside)) {
    time.title = `${new Date(Number(time.dataset.ago)).toLocaleString()} here\n${time.getAttribute("datetime")}`;
  }
}

// ---- numbers that move ----

function count(name, value) {
  for (const place of all(`[data-count="${name}"]`)) {
    if (place.dataset.value === String(value)) continue;
    place.dataset.value = value;
    place.textContent = value.toLocaleString("en");
  }
}

function tick(figures) {
  ahead = figures.now - Date.now();
  let whole = 0;
  for (const [state, number] of Object.entries(figures.states)) {
    count(state, number);
    whole += number;
  }
  count("all", whole);
  count("busy", figures.busy);
}

// ---- keeping up ----

const PAGE_EVERY = 2000; // ms between two looks at the page at least; a chart is not worth more
const WORTH = 20; // times as long as it took, a page is left alone after a look
let pace = Number(kept.get("pace") ?? 2); // seconds; 0: off
let source = null;
let wanted = false; // a look at the page is owed
let looking = false;
let lastLook = 0;
let asked = false; // somebody wants to see the rows as they are now, whatever he holds
let took = 0; // ms of the last look: a page that costs much is looked at less often
let timer = 0;

function pulse(name) {
  for (const dot of all("[data-pulse]")) dot.className = `dot ${name}`;
  const label = one("[data-pace]");
  label.title = { "is-live": "Live", "is-lost": "The tasker can't be reached; trying again" }[name] ?? "Paused";
}

function listen() {
  if (source || pace === 0 || document.hidden) return;
  const uid = one("[data-live][data-uid]")?.dataset.uid;
  source = new EventSource(`${prefix}/tasks/events?every=${pace}${uid ? `&uid=${uid}` : ""}`);
  source.addEventListener("open", () => {
    pulse("is-live");
    want(0); // what moved since the page was written, or while the tasker was away, is not told again
  });
  source.addEventListener("tick", (event) => {
    tick(JSON.parse(event.data));
    if (!uid) want();
  });
  source.addEventListener("job", () => want(0));
  source.addEventListener("error", () => {
    pulse("is-lost");
    if (source?.readyState === EventSource.CLOSED) { // refused: the browser won't ask again by itself
      source = null;
      setTimeout(listen, 10000);
    }
  });
}

function hush() {
  source?.close();
  source = null;
  clearTimeout(timer);
  timer = 0;
  pulse("");
}

function want(after = Math.max(PAGE_EVERY, pace * 1000)) {
  if (!one("[data-live]")) return; // the answer to a form, which can't be asked for again
  wanted = true;
  if (timer || looking || document.hidden) return;
  timer = setTimeout(look, Math.max(0, lastLook + Math.max(after, WORTH * took) - Date.now()));
}

async function look() {
  timer = 0;
  if (looking) return;
  looking = true;
  wanted = false;
  lastLook = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const text = await answer.text();
    took = Date.now() - lastLook;
    if (answer.ok) replace(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    pulse("is-lost");
  }
  looking = false;
  if (wanted) want();
  else if (one("[data-hurry]")) want(500);
}

// Rows are left alone while somebody points at them, has picked some, or is inside of them with the keyboard.
function busy(region) {
  if (region.contains(document.activeElement) && document.activeElement !== document.body) return true;
  if (region.dataset.live !== "rows") return false;
  return region.matches(":hover") || one("input[name=uid]:checked", region) !== null || here !== null;
}

function replace(fresh) {
  root.dataset.now = fresh.documentElement.dataset.now;
  let held = null;
  for (const region of all("[data-live]")) {
    const other = fresh.getElementById(region.id);
    if (!other || other.innerHTML === region.dataset.seen) continue;
    if (!asked && busy(region)) {
      if (region.dataset.live === "rows" && names(other) !== names(region)) held = region;
      for (const leaving of ["pointerleave", "focusout"]) region.addEventListener(leaving, catchUp, { once: true });
      continue;
    }
    region.dataset.seen = other.innerHTML;
    const open = all("details", region).map((each) => each.open);
    region.replaceChildren(...other.childNodes);
    region.className = other.className;
    region.toggleAttribute("data-hurry", other.hasAttribute("data-hurry"));
    all("details", region).forEach((each, at) => { each.open = open[at] ?? each.open; });
    dress(region);
  }
  asked = false;
  offer(held);
}

const catchUp = () => want(0);
const names = (region) => all("tbody tr", region).map((row) => row.dataset.uid ?? one("a", row)?.getAttribute("href")).join();

function offer(region) {
  one(".fresh")?.remove();
  if (!region) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fresh";
  button.textContent = "The list has changed: show it";
  button.addEventListener("click", () => {
    unpick();
    leave();
    button.remove(); // the rows come up to where the pointer is now
    asked = true;
    if (looking) wanted = true;
    else look();
  });
  region.before(button);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return hush();
  listen();
});

function paceSwitch() {
  const label = one("[data-pace]"), select = one("select", label);
  label.hidden = false;
  select.value = String(pace);
  if (select.selectedIndex < 0) { pace = 2; select.value = "2"; }
  select.addEventListener("change", () => {
    pace = Number(select.value);
    kept.set("pace", pace);
    hush();
    listen();
  });
}

// ---- what is said ----

function toast(text, { bad = false, undo = null } = {}) {
  const box = document.createElement("div");
  box.className = bad ? "toast is-bad" : "toast";
  box.append(Object.assign(document.createElement("span"), { textContent: text }));
  if (undo) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Undo" });
    button.addEventListener("click", () => {
      box.remove();
      send(`${prefix}/tasks/act`, new URLSearchParams([["state", undo.state ?? "waiting"], ["action", undo.action], ...undo.uid.map((uid) => ["uid", uid])]));
    });
    box.append(button);
  }
  one("[data-toasts]").append(box);
  setTimeout(() => box.remove(), undo ? 12000 : bad ? 9000 : 4000);
}

// ---- forms that stay on the page ----

async function send(where, fields) {
  try {
    const answer = await fetch(where, { method: "POST", body: fields, headers: { Accept: "application/json" } });
    const said = await answer.json();
    if (said.to) return location.assign(said.to);
    toast(said.said ?? said.detail ?? "It was not done", { bad: !answer.ok, undo: said.undo });
  } catch {
    toast("The tasker can't be reached", { bad: true });
  }
  await look();
}

document.addEventListener("submit", (event) => {
  const form = event.target, button = event.submitter;
  const picked = form.matches("[data-list]") && button?.name === "action";
  if (!form.matches("[data-act]") && !picked) return;
  event.preventDefault();
  if (button?.value === "delete" && !confirm(picked ? "Delete the selected jobs?" : "Delete this job?")) return;
  const fields = new URLSearchParams(new FormData(form, button));
  if (picked) unpick();
  document.activeElement?.blur();
  send(form.getAttribute("action"), fields); // form.action may be a button of that name
});

// ---- selecting ----

let lastPicked = null;
const boxes = () => all("input[name=uid]");

function told() {
  const bar = one("[data-picked]");
  if (!bar) return;
  const number = boxes().filter((box) => box.checked).length;
  bar.hidden = number === 0;
  one("[data-picked-count]", bar).textContent = number;
  for (const box of boxes()) box.closest("tr").classList.toggle("is-picked", box.checked);
  const whole = one("[data-pick-all]");
  if (whole) {
    whole.checked = number > 0 && number === boxes().length;
    whole.indeterminate = number > 0 && number < boxes().length;
  }
}

function pick(box, checked, upTo) {
  const every = boxes(), from = every.indexOf(lastPicked), to = every.indexOf(box);
  const chosen = upTo && from >= 0 ? every.slice(Math.min(from, to), Math.max(from, to) + 1) : [box];
  for (const each of chosen) each.checked = checked;
  lastPicked = box;
  told();
}

function unpick() {
  for (const box of boxes()) box.checked = false;
  lastPicked = null;
  told();
}

document.addEventListener("click", (event) => {
  const box = event.target.closest?.("input[name=uid]");
  if (box) pick(box, box.checked, event.shiftKey);
  if (event.target.matches?.("[data-pick-all]")) {
    for (const each of boxes()) each.checked = event.target.checked;
    told();
  }
  if (event.target.matches?.("[data-unpick]")) unpick();
  const copy = event.target.closest?.("[data-copy]");
  if (copy) copied(copy);
});

async function copied(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    toast("Copied");
  } catch { // no https, or not allowed: select it instead
    const area = Object.assign(document.createElement("textarea"), { value: button.dataset.copy, readOnly: true });
    button.after(area);
    area.select();
    const done = document.execCommand("copy");
    if (done) area.remove();
    toast(done ? "Copied" : "It can't be copied from here; it is selected", { bad: !done });
  }
}

// ---- the filter suggests how its last word may go on ----

function suggest(input) {
  const terms = JSON.parse(input.dataset.terms || "[]");
  const list = document.createElement("datalist");
  list.id = "terms";
  input.after(list);
  input.setAttribute("list", "terms");
  input.addEventListener("input", () => {
    const found = input.value.match(/^(.*?)(\S*)$/s);
    const before = found[1], word = found[2].toLowerCase();
    const fitting = word ? terms.filter((term) => term.toLowerCase().startsWith(word) && term !== found[2]) : [];
    list.replaceChildren(...fitting.slice(0, 12).map((term) => Object.assign(document.createElement("option"), { value: before + term })));
  });
}

// ---- keys ----

let here = null; // the row that the keys are at
const rows = () => all(".rows tbody tr");

function leave() {
  here?.classList.remove("is-here");
  here = null;
}

function go(step) {
  const list = rows();
  if (!list.length) return;
  const at = list.indexOf(here);
  const next = list[at < 0 ? (step > 0 ? 0 : list.length - 1) : Math.max(0, Math.min(list.length - 1, at + step))];
  leave();
  here = next;
  here.classList.add("is-here");
  here.scrollIntoView({ block: "nearest" });
}

function retry() {
  const list = one("[data-list]");
  const button = list && one("[data-picked] button[value=retry]", list);
  if (boxes().some((box) => box.checked)) return button?.click();
  if (here?.dataset.uid && button) return send(`${prefix}/tasks/${here.dataset.uid}/retry`, new URLSearchParams());
  one("form[action$='/retry'] button")?.click();
}

const ROOMS = { o: "/tasks", j: "/tasks/jobs", e: "/tasks/errors", q: "/tasks/queues", h: "/tasks/hosts", s: "/tasks/system" };
const KEYS = {
  "/": () => { const field = one("[data-filter]"); if (field) { field.focus(); field.select(); } else location.assign(`${prefix}/tasks/jobs`); },
  "?": () => one("[data-keys]").showModal(),
  j: () => go(1),
  k: () => go(-1),
  x: () => { const box = here && one("input[name=uid]", here); if (box) pick(box, !box.checked, false); },
  X: () => { const box = here && one("input[name=uid]", here); if (box) pick(box, true, true); },
  Enter: () => one("a[data-open]", here ?? document.createElement("i"))?.click(),
  r: retry,
  n: () => one("a[href$='/tasks/new']")?.click(),
  t: () => theme(),
  Escape: () => { unpick(); leave(); },
};
let going = 0; // until when a letter after g names a page

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]")) return;
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "Enter" && event.target.matches("a, button, summary")) return;
  if (Date.now() < going && ROOMS[event.key]) return location.assign(prefix + ROOMS[event.key]);
  if (event.key === "g") { going = Date.now() + 1500; return; }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// ---- the theme ----

function theme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  kept.set("theme", root.dataset.theme);
}

// ---- at the start ----

function dress(inside) {
  for (const hidden of all("[data-copy][hidden]", inside)) hidden.hidden = false;
  tellTimes(inside);
  localTimes(inside);
  told();
}

one("[data-theme-switch]").hidden = false;
one("[data-theme-switch]").addEventListener("click", theme);
one("[data-help]").hidden = false;
one("[data-help]").addEventListener("click", KEYS["?"]);
all("[data-filter]").forEach(suggest);
for (const region of all("[data-live]")) region.dataset.seen = region.innerHTML;
dress(document);
paceSwitch();
listen();
setInterval(() => { if (!document.hidden) tellTimes(); }, 1000);
if (one("[data-hurry]")) want(500);
