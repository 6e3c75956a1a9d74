(() => {
  "use strict";
  const $ = (q, from = document) => from.querySelector(q);
  const all = (q, from = document) => [...from.querySelectorAll(q)];
  const typing = () => /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
  const filters = () => {
    const wanted = {};
    if (!location.hash.startsWith("#q=")) return wanted;
    for (const part of decodeURIComponent(location.hash.slice(3).replaceAll("+", " ")).split(" ")) {
      const [key, ...rest] = part.split(":");
      if (rest.length) wanted[key] = rest.join(":"); else if (key) wanted.text = (wanted.text ? wanted.text + " " : "") + key;
    }
    return wanted;
  };
  const write = (wanted) => {
    const parts = Object.entries(wanted).filter(([, v]) => v).map(([k, v]) => k === "text" ? v : `${k}:${v}`);
    const hash = parts.length ? "#q=" + encodeURIComponent(parts.join(" ")).replaceAll("%20", "+").replaceAll("%3A", ":") : "#";
    history.replaceState(null, "", hash);
    apply();
  };
  const apply = () => {
    const wanted = filters();
    const keys = ["verdict", "template", "phase", "gpu"];
    let shown = 0;
    for (const node of all("[data-verdict]")) {
      const fits = keys.every((k) => !wanted[k] || (node.dataset[k] || "").split("|").some((v) => v.includes(wanted[k])))
        && (!wanted.text || node.textContent.toLowerCase().includes(wanted.text.toLowerCase()));
      node.hidden = !fits;
      if (fits && node.matches("tr")) shown += 1;
    }
    const total = all("tr[data-verdict]").length;
    const none = $("#none");
    none.hidden = shown > 0 || total === 0;
    none.textContent = `No job fits this filter; there are ${total} without it.`;
    for (const chip of all(".tools a")) {
      if ((chip.dataset.chip || "") === (wanted.verdict || "")) chip.setAttribute("aria-current", "true"); else chip.removeAttribute("aria-current");
    }
    for (const box of all(".tools select")) box.value = wanted[box.name] || "";
    const search = $("#search");
    if (document.activeElement !== search) search.value = wanted.text || "";
  };
  const reveal = () => {
    if (location.hash.startsWith("#q=") || location.hash.length < 2) { apply(); return; }
    const node = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!node) return;
    for (let up = node; up; up = up.parentElement) { if (up.tagName === "DETAILS") up.open = true; up.hidden = false; }
    node.scrollIntoView({ block: "start" });
    if (!node.hasAttribute("tabindex") && node.tagName !== "DETAILS") node.setAttribute("tabindex", "-1");
    (node.tagName === "DETAILS" ? $("summary", node) : node).focus({ preventScroll: true });
  };
  const sort = (th) => {
    const table = th.closest("table"), body = $("tbody", table), column = th.cellIndex;
    const up = th.getAttribute("aria-sort") !== "ascending";
    for (const other of all("th", table)) other.removeAttribute("aria-sort");
    th.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    const rows = all("tr", body).sort((a, b) => key(a).localeCompare(key(b), "en", { numeric: true }) * (up ? 1 : -1));
    body.append(...rows);
  };
  const step = (by) => {
    const list = all(".problem").filter((node) => !node.hidden);
    if (!list.length) return;
    const at = list.findIndex((node) => node === document.activeElement || node.contains(document.activeElement));
    const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : (at + by + list.length) % list.length];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  const prepare = () => {
    $("#tools").hidden = $("#tools").dataset.jobs < 2;
    for (const th of all("table.jobs th")) {
      if ($("button", th)) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = th.textContent;
      button.addEventListener("click", () => sort(th));
      th.replaceChildren(button);
    }
    for (const node of all("[data-copy]")) {
      node.hidden = false;
      node.addEventListener("click", () => {
        const link = location.href.split("#")[0] + "#" + node.dataset.copy;
        navigator.clipboard?.writeText(link).then(() => { node.textContent = "copied"; }, () => { location.hash = node.dataset.copy; });
      });
    }
  };
  document.addEventListener("click", (event) => {
    const chip = event.target.closest?.(".tools a");
    if (!chip) return;
    event.preventDefault();
    write({ ...filters(), verdict: chip.dataset.chip });
  });
  document.addEventListener("input", (event) => { if (event.target.id === "search") write({ ...filters(), text: event.target.value }); });
  document.addEventListener("change", (event) => { if (event.target.matches?.(".tools select")) write({ ...filters(), [event.target.name]: event.target.value }); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const help = $("#help");
    if (event.key === "Escape") {
      if (help.open) help.close();
      else if (typing()) document.activeElement.blur();
      else document.activeElement?.closest?.("details[open]")?.removeAttribute("open");
      return;
    }
    if (typing()) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "f") write({ ...filters(), verdict: filters().verdict === "failed" ? "" : "failed" });
    else if (event.key === "/") { event.preventDefault(); $("#search").focus(); }
    else if (event.key === "Enter" && document.activeElement?.matches?.(".problem")) location.hash = $("a", document.activeElement).getAttribute("href");
    else if (event.key === "?") { if (help.open) help.close(); else help.showModal(); }
  });
  addEventListener("hashchange", reveal);
  const live = document.body.dataset.events;
  if (live) {
    let waiting = false, again = false, last = Date.now(), lostSince = null;
    const clock = () => {
      const node = $("#live");
      const ago = Math.round((Date.now() - last) / 1000);
      node.textContent = lostSince ? `connection lost at ${lostSince}; the run goes on` : `live · last event ${ago} s ago`;
      node.toggleAttribute("data-lost", Boolean(lostSince));
    };
    const refill = (fresh) => {
      // Not under a list that somebody has open; the search box stays, with what is being typed.
      if (!fresh || document.activeElement?.tagName === "SELECT") return;
      const chip = document.activeElement?.dataset?.chip;
      for (const node of all("a, select", $("#tools"))) node.remove();
      $("#search").before(...all("a, select", fresh));
      all(".tools a").find((node) => node.dataset.chip === chip)?.focus({ preventScroll: true });
    };
    const repaint = async () => {
      if (waiting) { again = true; return; }
      waiting = true;
      try {
        const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          const open = new Set(all("details[open]").map((node) => node.id)), focus = document.activeElement?.id, y = scrollY;
          for (const id of ["head", "body"]) $("#" + id).replaceChildren(...$("#" + id, fresh).childNodes);
          refill($("#tools", fresh));
          document.title = fresh.title;
          for (const node of all("details")) if (open.has(node.id)) node.open = true;
          prepare(); apply();
          if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
          scrollTo({ top: y, behavior: "instant" });
          if (!fresh.body.dataset.events) { source.close(); clearInterval(timer); $("#live").textContent = "the run has ended"; }
        }
      } catch { /* the event stream says when the connection is lost */ }
      setTimeout(() => { waiting = false; if (again) { again = false; repaint(); } }, 1000);
    };
    const source = new EventSource(live);
    source.addEventListener("changed", () => { last = Date.now(); lostSince = null; repaint(); });
    source.onopen = () => { lostSince = null; clock(); };
    source.onerror = () => { lostSince ||= new Date().toISOString().slice(11, 19) + " UTC"; clock(); };
    const timer = setInterval(clock, 1000);
    clock();
  }
  prepare(); apply(); reveal();
})();
