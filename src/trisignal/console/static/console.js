"use strict";
/* Everything works without this script; it saves key presses and follows new calls. */
(() => {
  const pages = { o: "/", c: "/calls", m: "/cost", q: "/quality", e: "/errors", a: "/alerts", d: "/compare" };
  for (const field of document.querySelectorAll("[data-submit]")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }
  // Empty fields would only make the address long.
  for (const form of document.querySelectorAll("form")) {
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
    });
  }
  addEventListener("pageshow", () => {
    for (const field of document.querySelectorAll("form [name]:disabled")) field.disabled = false;
  });

  let wanted = "";
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (wanted === "g" && pages[event.key]) {
      location.href = pages[event.key] + location.search.replace(/[?&](order|direction|of|page|span)=[^&]*/g, "").replace(/^&/, "?");
      return;
    }
    wanted = event.key;
    if (event.key === "/") {
      const field = document.querySelector("[data-search]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    } else if (event.key === "j" || event.key === "k") {
      const links = [...document.querySelectorAll("table.rows tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
      const at = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
      if (links[Math.max(0, at)]) links[Math.max(0, at)].focus();
    }
  });

  const live = document.querySelector("[data-live]");
  const body = document.querySelector("#calls tbody");
  if (!live || !body || !window.EventSource) return;
  live.hidden = false;
  let source = null;
  const stop = () => { if (source) source.close(); source = null; live.setAttribute("aria-pressed", "false"); };
  live.addEventListener("click", () => {
    if (source) { stop(); return; }
    live.setAttribute("aria-pressed", "true");
    source = new EventSource(live.dataset.live);
    source.addEventListener("call", (event) => add(JSON.parse(event.data)));
  });
  addEventListener("pagehide", stop);

  const cell = (row, text, kind) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (kind) made.className = kind;
    row.append(made);
    return made;
  };
  const seconds = (value) => value == null ? "" : value < 0.1 ? (value * 1000).toFixed(0) + " ms" : value.toFixed(value < 10 ? 2 : 1) + " s";
  const add = (call) => {
    const row = document.createElement("tr");
    row.className = "fresh";
    cell(row, new Date(call.start_unix_s * 1000).toISOString().slice(11, 19), "mono");
    const link = document.createElement("a");
    link.href = "/traces/" + encodeURIComponent(call.trace_id) + "?span=" + encodeURIComponent(call.span_id);
    const dot = document.createElement("i");
    dot.className = "dot kind-call";
    link.append(dot, call.name);
    cell(row, "").append(link);
    cell(row, call.tenant, "roomy");
    cell(row, call.provider, "roomy");
    cell(row, seconds(call.duration_s), "n");
    cell(row, seconds(call.first_token_s), "n roomy");
    cell(row, (call.input_tokens ?? "") + (call.output_tokens == null ? "" : " → " + call.output_tokens), "n roomy");
    cell(row, call.cost_usd == null ? "" : "$" + Number(call.cost_usd.toPrecision(2)), "n");
    const outcome = cell(row, "");
    const mark = document.createElement("span");
    mark.className = "dot " + (call.outcome === "ok" ? "ok" : call.outcome === "error" ? "bad" : "warn");
    outcome.append(mark, call.outcome === "error" ? call.error_kind || "error" : call.outcome);
    cell(row, call.quality == null ? "" : call.quality.toFixed(2), "n roomy");
    const empty = body.querySelector(".empty");
    if (empty) empty.closest("tr").remove();
    body.prepend(row);
    while (body.rows.length > 500) body.deleteRow(-1);
  };
})();
