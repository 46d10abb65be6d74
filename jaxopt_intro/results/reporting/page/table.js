// The trials as a table: sorted by any column, the best first; a row can be pinned in all pictures, or copied as TOML.

const ROWS = 25;

function tableView() {
  const columns = tableColumns();
  const sort = { column: 0, down: false, ...state.chosen.sort };
  let shown = ROWS;
  const body = element("tbody");
  const heads = columns.map((column, number) => {
    const button = element("button", { type: "button", id: `sort-${number}`, onclick: () => sortBy(number) }, column.name);
    return element("th", { scope: "col", class: column.text ? "" : "number" }, button);
  });
  heads.push(element("th", { scope: "col" }, "TOML"));
  const more = element("button", { type: "button", id: "more", onclick: () => { shown += 100; fill(); } });
  const text = element("pre", { id: "toml", tabindex: "0", "aria-label": "The copied experiment file" });
  const detail = element("details", { id: "copied", hidden: true }, element("summary", {}, "What was copied"), text);

  function sortBy(number) {
    sort.down = sort.column === number && !sort.down;
    sort.column = number;
    state.chosen.sort = { ...sort };
    fill();
  }

  function ordered() {
    const { value, text: words } = columns[sort.column];
    const sign = sort.down ? -1 : 1;
    const missing = (key) => key === null || key === "" || Number.isNaN(key);
    return Array.from(state.kept, (trial) => [value(trial), trial]).sort(([a, i], [b, j]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b) || trials.rank[i] - trials.rank[j]; // last, either way
      const order = words ? a.localeCompare(b, "en") : a - b;
      return sign * order || trials.rank[i] - trials.rank[j];
    }).map(([, trial]) => trial);
  }

  function fill() {
    const all = ordered();
    body.replaceChildren(...all.slice(0, shown).map(row));
    heads.slice(0, -1).forEach((head, number) => {
      if (number === sort.column) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    more.hidden = all.length <= shown;
    more.textContent = `Show ${Math.min(100, all.length - shown)} more of ${(all.length - shown).toLocaleString("en")}`;
    mark();
  }

  function row(trial) {
    const cells = columns.map((column, number) => {
      const shownAs = column.show(trial);
      if (number) return element("td", { class: column.text ? "" : "number" }, shownAs);
      const pinning = { type: "button", class: "pin", "aria-label": `Pin trial ${trials.id[trial]} in the pictures`, onclick: () => pin(trial) };
      return element("td", { class: "number" }, element("button", pinning, shownAs));
    });
    const copying = { type: "button", class: "copy", "aria-label": `Copy trial ${trials.id[trial]} as TOML`, onclick: () => copy(trial) };
    cells.push(element("td", {}, element("button", copying, "Copy")));
    const node = element("tr", { onpointerenter: () => hover(trial), onpointerleave: () => hover(-1) }, ...cells);
    node.dataset.trial = trial;
    return node;
  }

  function mark() {
    for (const node of body.children) {
      const trial = Number(node.dataset.trial);
      const pinned = state.pinned.has(trial);
      node.className = pinned ? "pinned" : trial === state.hovered ? "hovered" : "";
      node.querySelector(".pin").setAttribute("aria-pressed", pinned);
    }
  }

  async function copy(trial) {
    text.textContent = toml(trial);
    detail.hidden = false;
    const done = await copyText(text.textContent);
    if (!done) detail.open = true;
    say(done ? `Copied trial ${trials.id[trial]} as TOML` : "This browser does not let the page copy: the text is below the table");
  }

  const table = element("table", { id: "table" }, element("thead", {}, element("tr", {}, ...heads)), body);
  const help = "Sort by a column's name; the number of a row pins its trial in all pictures. Copy gives an experiment file that trains this trial again: save it, then jaxopt-intro sweep FILE.";
  card("trials", "The best trials", help,
    element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Table of trials" }, table), more, detail);
  listen("filter", () => { shown = ROWS; fill(); });
  listen("mark", mark);
  fill();
}

function tableColumns() {
  const number = (name, values, show = (value) => written(value)) => (
    { name, value: (trial) => values[trial], show: (trial) => show(values[trial], trial) });
  const columns = [number("rank", trials.rank)];
  for (const axis of settingAxes) {
    if (axis.choice) {
      const words = (trial) => Number.isNaN(axis.values[trial]) ? "" : axis.labels[axis.values[trial]];
      columns.push({ name: axis.name, text: true, value: words, show: words });
    } else columns.push(number(axis.name, axis.values));
  }
  columns.push(number(data.objective, trials.score, (_, trial) => trials.score[trial] === null ? "" : scoreText(trial)));
  if (trials.test?.some((value) => value !== null)) columns.push(number("test", trials.test));
  columns.push(number("best epoch", trials.epoch, (value) => value ? String(value) : ""));
  const status = (trial) => data.statuses[trials.status[trial]];
  columns.push({ name: "status", text: true, value: status, show: status });
  columns.push({ name: "trial", text: true, value: (trial) => trials.id[trial], show: (trial) => trials.id[trial] });
  return columns;
}

/** Copies text, also where the page may not use the clipboard's own interface; says whether it could. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", { class: "aside", "aria-hidden": "true" });
    const before = document.activeElement;
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
