"use strict";
(() => {
  const sheet = JSON.parse(document.getElementById("data").textContent);
  const rows = sheet.rows;
  const byId = (id) => document.getElementById(id);
  // All text goes through textContent, never through HTML.
  const make = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    for (const child of children) node.append(child);
    return node;
  };
  const LEVELS = ["failed", "unknown", "differs", "changed", "good", "skipped"];
  const WORDS = { failed: "failed", unknown: "unknown", differs: "differ", changed: sheet.kind.endsWith("Plan") ? "to change" : "changed", good: "in order", skipped: "left alone" };
  const ROW = 37;
  const MARGIN = 12;

  // Head
  document.title = "eso-sync " + sheet.kind + " " + sheet.run.id;
  byId("kind").textContent = "eso-sync: " + sheet.kind;
  const run = sheet.run;
  byId("facts").textContent = ["exit code " + run.exitCode, run.complete ? "complete" : "incomplete", run.started + " to " + run.finished, run.context, run.server,
    "run " + run.id, "eso-sync " + run.version].filter(Boolean).join(" · ");
  byId("totals").textContent = sheet.totals.join(" · ");

  // Notes
  for (const note of sheet.notes) {
    const place = note.place ? note.place.filter((part) => part !== null).join(":") + ": " : "";
    byId("notes").append(make("li", { class: note.level }, place + note.text));
  }
  byId("notes-section").hidden = sheet.notes.length === 0;

  // Filters
  const filters = { level: "", namespace: "", store: "", verdict: "", outcome: "", text: "" };
  for (const row of rows) row.search = [row.kind, row.namespace, row.name, row.reason, row.message].join(" ").toLowerCase();
  const counts = {};
  for (const row of rows) counts[row.level] = (counts[row.level] || 0) + 1;
  const cards = [];
  for (const level of LEVELS.filter((level) => counts[level])) {
    const card = make("button", { type: "button", class: level, "aria-pressed": "false" }, make("b", {}, String(counts[level])), WORDS[level]);
    card.addEventListener("click", () => {
      filters.level = filters.level === level ? "" : level;
      for (const [other, button] of cards) button.setAttribute("aria-pressed", String(filters.level === other));
      choose();
    });
    cards.push([level, card]);
    byId("cards").append(make("li", {}, card));
  }
  for (const key of ["namespace", "store", "verdict", "outcome"]) {
    const select = byId("filter-" + key);
    const words = [...new Set(rows.map((row) => row[key]).filter(Boolean))].sort();
    for (const word of words) select.append(make("option", { value: word }, word));
    select.addEventListener("change", () => { filters[key] = select.value; choose(); });
    select.parentElement.hidden = words.length === 0;
  }
  byId("filter-text").addEventListener("input", (event) => { filters.text = event.target.value.toLowerCase(); choose(); });
  byId("reset").addEventListener("click", () => {
    for (const key of Object.keys(filters)) filters[key] = "";
    for (const key of ["namespace", "store", "verdict", "outcome", "text"]) byId("filter-" + key).value = "";
    for (const [, button] of cards) button.setAttribute("aria-pressed", "false");
    choose();
  });

  // Table: only the rows in the window are in the page
  let chosen = rows;
  let shown = [-1, -1];
  let selected = null;
  const pane = byId("window");
  const body = byId("body");
  // A workload and its ExternalSecret often have the same name, so a row is known by its place.
  const places = new Map(rows.map((row, place) => [row, place]));
  const button = (place) => body.querySelector('button[data-row="' + place + '"]');
  const cell = (text, attributes) => {
    const cell = make("td", attributes, text || "");
    if (text) cell.title = text;
    return cell;
  };
  const line = (row, index) => {
    const open = make("button", { type: "button", "aria-controls": "details", "data-row": String(places.get(row)) }, row.namespace ? row.namespace + "/" + row.name : row.name);
    open.addEventListener("click", () => details(row));
    return make("tr", { class: "row " + row.level, "aria-rowindex": String(index + 2), "aria-selected": String(row === selected) },
      cell(WORDS[row.level], { class: "level" }), cell(row.kind), make("td", {}, open), cell(row.store), cell(row.verdict), cell(row.outcome),
      cell([row.reason, row.message].filter(Boolean).join(": ")));
  };
  const space = (count) => {
    const td = make("td", { colspan: "7" });
    td.style.height = count * ROW + "px";
    return make("tr", { class: "space", "aria-hidden": "true" }, td);
  };
  const draw = (all) => {
    const first = all ? 0 : Math.max(0, Math.floor(pane.scrollTop / ROW) - MARGIN);
    const last = all ? chosen.length : Math.min(chosen.length, first + Math.ceil(pane.clientHeight / ROW) + 2 * MARGIN);
    if (shown[0] === first && shown[1] === last) return;
    shown = [first, last];
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.row : undefined;
    const lines = chosen.slice(first, last).map((row, at) => line(row, first + at));
    body.replaceChildren(...(first > 0 ? [space(first)] : []), ...lines, ...(last < chosen.length ? [space(chosen.length - last)] : []));
    if (focused !== undefined) button(focused)?.focus({ preventScroll: true });
  };
  const again = (all) => { shown = [-1, -1]; draw(all); };
  const choose = () => {
    chosen = rows.filter((row) => (!filters.level || row.level === filters.level) && (!filters.text || row.search.includes(filters.text)) &&
      ["namespace", "store", "verdict", "outcome"].every((key) => !filters[key] || row[key] === filters[key]));
    byId("count").textContent = chosen.length + " of " + rows.length + " objects";
    byId("table").setAttribute("aria-rowcount", String(chosen.length + 1));
    pane.scrollTop = 0;
    again(false);
  };
  let waiting = false;
  pane.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(false); });
  });
  addEventListener("resize", () => { again(false); timeline(); });
  addEventListener("beforeprint", () => again(true));
  addEventListener("afterprint", () => again(false));

  // Details of one object
  const details = (row) => {
    selected = row;
    for (const line of body.querySelectorAll("tr.row")) line.setAttribute("aria-selected", "false");
    again(false);
    const chain = byId("chain");
    chain.replaceChildren(...(row.chain || []).map((link) => make("li", {}, make("div", { class: "link " + link.level }, make("small", {}, link.kind), link.name, " ",
      make("em", {}, link.state)))));
    const facts = [["State", WORDS[row.level]], ["Provider", row.provider], ["Store", row.store], ["Verdict", row.verdict], ["Outcome", row.outcome], ["Reason", row.reason],
      ["Message", row.message], ["Keys", (row.keys || []).join(", ")], ["Next step", row.nextStep], ["Started", row.at],
      ["Took", row.seconds === undefined ? "" : row.seconds + " s"], ["Wave", row.wave ? "rule " + row.wave[0] + ", wave " + row.wave[1] : ""]];
    byId("facts-of").replaceChildren(...facts.filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
    byId("details-title").textContent = row.kind + " " + (row.namespace ? row.namespace + "/" : "") + row.name;
    byId("details").hidden = false;
    byId("details-title").focus();
  };
  byId("close").addEventListener("click", () => {
    byId("details").hidden = true;
    (button(places.get(selected)) || pane).focus();
  });

  // Timeline
  const timed = rows.filter((row) => row.at).map((row) => ({ level: row.level, from: Date.parse(row.at), to: Date.parse(row.at) + (row.seconds || 0) * 1000 }));
  timed.sort((a, b) => a.from - b.from);
  const timeline = () => {
    byId("timeline-section").hidden = timed.length === 0;
    if (timed.length === 0) return;
    const canvas = byId("timeline");
    const scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const from = Math.min(Date.parse(run.started), timed[0].from);
    const to = timed.reduce((last, bar) => Math.max(last, bar.to), Date.parse(run.finished));
    const x = (time) => ((time - from) / Math.max(1, to - from)) * width;
    const lanes = [];
    const placed = timed.map((bar) => {
      let lane = lanes.findIndex((end) => end <= bar.from);
      if (lane < 0) lane = lanes.length < 60 ? lanes.length : lanes.indexOf(lanes.reduce((a, b) => Math.min(a, b)));
      lanes[lane] = bar.to;
      return [bar, lane];
    });
    const style = getComputedStyle(document.documentElement);
    const thick = Math.min(14, height / lanes.length);
    for (const [bar, lane] of placed) {
      context.fillStyle = style.getPropertyValue("--" + bar.level);
      context.fillRect(x(bar.from), lane * thick, Math.max(1.5, x(bar.to) - x(bar.from)), Math.max(1, thick - 1));
    }
    byId("from").textContent = new Date(from).toISOString();
    byId("to").textContent = new Date(to).toISOString();
    canvas.setAttribute("aria-label", timed.length + " syncs and restarts between " + byId("from").textContent + " and " + byId("to").textContent);
  };

  // Restart waves
  const waves = new Map();
  for (const row of rows.filter((row) => row.wave)) {
    const key = row.wave.join(":");
    if (!waves.has(key)) waves.set(key, []);
    waves.get(key).push(row);
  }
  const order = [...waves.values()].sort((a, b) => a[0].wave[0] - b[0].wave[0] || a[0].wave[1] - b[0].wave[1]);
  for (const members of order) {
    const [rule, wave] = members[0].wave;
    const chips = members.slice(0, 100).map((row) => make("span", { class: "chip " + row.level }, row.kind + " " + row.namespace + "/" + row.name + " (" + row.outcome + ")"));
    const more = members.length > 100 ? ["… and " + (members.length - 100) + " more"] : [];
    byId("waves").append(make("div", { class: "wave" }, make("b", {}, "rule " + rule + ", wave " + wave), ...chips, ...more));
  }
  byId("waves-section").hidden = order.length === 0;

  choose();
  timeline();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", timeline);
})();
