// A heat map of two settings: the best score in each cell. Arrow keys walk over the cells; Enter filters by one.

const MOST = 16; // values of an axis that get a cell each; of more, this many stretches do

function mapView() {
  if (settingAxes.length < 2) return;
  const names = settingAxes.map(({ name }) => [name, name]);
  const numbers = [...settingAxes.filter(({ choice }) => !choice), ...settingAxes.filter(({ choice }) => choice)];
  const chosen = { "map-x": numbers[0].name, "map-y": numbers[1].name, ...state.chosen };
  let focused = 0;
  const node = element("div", { class: "map", role: "group", "aria-label": "Heat map" });
  const note = element("p", { class: "help" });

  function draw() {
    const [x, y] = [axes.get(chosen["map-x"]), axes.get(chosen["map-y"])];
    const [across, up] = [stretches(x), stretches(y)];
    const cells = cellsOf(x, y, across, up);
    const width = node.clientWidth;
    if (!width) return;
    const left = Math.min(Math.max(...up.map(({ text }) => text.length)) * 7 + 12, width / 3);
    const [cell, high] = [(width - left - 4) / across.length, clamp(300 / up.length, 20, 44)];
    const height = high * up.length + 46;
    const best = cells.reduce((found, own) => own.trial >= 0 && (!found || trials.rank[own.trial] < trials.rank[found.trial]) ? own : found, null);
    const rects = cells.map((own, number) => drawCell(own, { x: left + own.column * cell, y: (up.length - 1 - own.row) * high, width: cell, height: high, number, best: own === best }));
    const texts = [
      ...up.map(({ text }, row) => svg("text", { x: left - 6, y: (up.length - 0.5 - row) * high + 4, "text-anchor": "end" }, cut(text, Math.floor(left / 7)))),
      ...spaced(across.map(({ text }, column) => [left + (column + 0.5) * cell, text]), { width }).map(([x, text]) => svg("text", { x, y: up.length * high + 16, "text-anchor": "middle" }, text)),
      svg("text", { class: "title", x: left + (width - left) / 2, y: height - 6, "text-anchor": "middle" }, `→ ${chosen["map-x"]},  ↑ ${chosen["map-y"]}`),
    ];
    node.replaceChildren(svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` }, ...rects, ...texts));
    const hidden = settingAxes.length > 2 ? `, the best over ${settingAxes.map(({ name }) => name).filter((name) => name !== chosen["map-x"] && name !== chosen["map-y"]).join(", ")}` : "";
    note.textContent = `${data.objective}${hidden}. Framed: the best. ×: all failed. Choose a cell to keep only its trials.`;
  }

  function drawCell(own, { x, y, width, height, number, best }) {
    const what = own.trial >= 0 ? scoreText(own.trial) : own.failed ? "all failed" : own.count ? "no score yet" : "no trial";
    const words = `${chosen["map-x"]} ${own.across.text}, ${chosen["map-y"]} ${own.up.text}: ${what}, ${many(own.count, "trial")}`;
    const fill = own.trial >= 0 ? shade(goodness(scores[own.trial])) : own.count ? "var(--card)" : "transparent";
    const open = () => {
      setFilter(chosen["map-x"], own.across.filter);
      setFilter(chosen["map-y"], own.up.filter);
    };
    const keys = (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(); }
      else walk(event);
    };
    const group = svg("g", { class: `cell${best ? " best" : ""}`, role: "button", "aria-label": words, tabindex: number === focused ? 0 : -1, "data-number": number, onclick: open, onkeydown: keys },
      svg("title", {}, words),
      svg("rect", { x: x + 1, y: y + 1, width: Math.max(width - 2, 1), height: height - 2, rx: 2, fill }));
    const text = own.trial >= 0 ? written(scores[own.trial], 3) : own.failed ? "×" : "";
    if (text && width > 6.6 * text.length + 4) {
      const inside = svg("text", { x: x + width / 2, y: y + height / 2 + 4, "text-anchor": "middle" }, text);
      inside.style.fill = own.trial < 0 ? "var(--text)" : inkOn(goodness(scores[own.trial])); // the style sheet's colour of texts would hide an attribute
      group.append(inside);
    }
    return group;
  }

  function walk(event) {
    const columns = stretches(axes.get(chosen["map-x"])).length;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: columns, ArrowDown: -columns }[event.key];
    const cells = node.querySelectorAll(".cell");
    if (!step || !cells[focused + step]) return;
    event.preventDefault();
    cells[focused].setAttribute("tabindex", -1);
    focused += step;
    cells[focused].setAttribute("tabindex", 0);
    cells[focused].focus();
  }

  const choose = (id) => (value) => { chosen[id] = state.chosen[id] = value; focused = 0; draw(); };
  card("map", "Two settings", null, element("p", { class: "bar" },
    select("map-x", "across", names, chosen["map-x"], choose("map-x")), select("map-y", "up", names, chosen["map-y"], choose("map-y"))), node, colourLegend(), note);
  let width = 0;
  new ResizeObserver(() => { if (node.clientWidth !== width) { width = node.clientWidth; draw(); } }).observe(node);
  listen("filter", () => {
    const inside = node.contains(document.activeElement);
    draw();
    if (inside) node.querySelector(`[data-number="${focused}"]`)?.focus();
  });
}

/** Cuts an axis into what gets a cell each: its values, or stretches of equal length where there are many. */
function stretches(axis) {
  if (axis.choice || axis.known.length <= MOST) {
    return [...axis.known].map((value) => ({
      text: label(axis, value),
      holds: (own) => own === value,
      filter: axis.choice ? { labels: new Set([value]) } : { low: value, high: value },
    }));
  }
  return Array.from({ length: 10 }, (_, number) => {
    const [low, high] = [axis.value(number / 10), axis.value((number + 1) / 10)];
    const inside = (own) => clamp(Math.floor(axis.position(own) * 10), 0, 9) === number;
    const own = axis.known.filter(inside);
    const filter = own.length ? { low: own[0], high: own.at(-1) } : { low, high };
    return { text: written(axis.value((number + 0.5) / 10), 2), holds: inside, filter };
  });
}

/** The best trial of each cell of what the filters leave, -1 where none has a score. */
function cellsOf(x, y, across, up) {
  const cells = up.flatMap((own, row) => across.map((other, column) => ({ row, column, across: other, up: own, trial: -1, count: 0, failed: true })));
  const finder = (parts) => {
    const found = new Map(); // a number that occurs often is looked for once
    return (value) => found.get(value) ?? found.set(value, parts.findIndex(({ holds }) => holds(value))).get(value);
  };
  const [column, row] = [finder(across), finder(up)];
  for (const trial of state.kept) { // the best come first
    const [a, b] = [column(x.values[trial]), row(y.values[trial])];
    if (a < 0 || b < 0) continue;
    const cell = cells[b * across.length + a];
    cell.count += 1;
    cell.failed &&= trials.status[trial] === FAILED;
    if (cell.trial < 0 && !Number.isNaN(scores[trial])) cell.trial = trial;
  }
  for (const cell of cells) cell.failed &&= cell.count > 0;
  return cells;
}
