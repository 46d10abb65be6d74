// The same filters without a pointer: two sliders for a number, check boxes for labels, and what they leave.

function filtersView() {
  const rows = [...settingAxes, scoreAxis, statusAxis].filter((axis) => axis.known.length > 1).map(filterRow);
  const count = element("output", { id: "count" });
  const clear = element("button", { type: "button", id: "clear", onclick: clearFilters }, "Clear filters");
  const words = element("span", { id: "filter-words" });
  const panel = element("details", { id: "filters" }, element("summary", {}, "Filters by keyboard or touch"),
    element("div", { class: "filters" }, ...rows.map((row) => row.node)));
  document.getElementById("parallel").append(panel, element("p", { class: "bar" }, count, words, clear));
  const update = () => {
    rows.forEach((row) => row.update());
    count.textContent = `${state.kept.length.toLocaleString("en")} of ${many(total, "trial")} shown`;
    words.textContent = state.filters.size ? `: ${[...state.filters].map(filterWords).join("; ")}` : "";
    clear.disabled = !state.filters.size;
  };
  listen("filter", update);
  update();
}

function filterWords([name, filter]) {
  const axis = axes.get(name);
  if (filter.labels) return `${name} ${[...filter.labels].map((value) => label(axis, value)).join(" or ") || "none"}`;
  const low = Number.isFinite(filter.low) ? `from ${written(filter.low, 3)}` : "";
  const high = Number.isFinite(filter.high) ? `to ${written(filter.high, 3)}` : "";
  return [name, low, high].filter(Boolean).join(" ");
}

function filterRow(axis, number) {
  return axis.choice ? labelsRow(axis, number) : slidersRow(axis, number);
}

function labelsRow(axis, number) {
  const present = [...axis.known];
  const boxes = present.map((value) => {
    const change = () => {
      const checked = present.filter((_, at) => boxes[at].checked);
      setFilter(axis.name, checked.length === present.length ? null : { labels: new Set(checked) });
    };
    return element("input", { type: "checkbox", id: `filter-${number}-${value}`, checked: true, onchange: change });
  });
  const labels = present.map((value, at) => element("label", { class: "check" }, boxes[at], ` ${axis.labels[value]}`));
  const node = element("fieldset", {}, element("legend", {}, axis.name), ...labels);
  const update = () => {
    const filter = state.filters.get(axis.name);
    present.forEach((value, at) => { boxes[at].checked = !filter || filter.labels.has(value); });
  };
  return { node, update };
}

function slidersRow(axis, number) {
  // At most 101 stops, at even shares of the values that occur.
  const last = Math.min(axis.known.length - 1, 100);
  const stops = Array.from({ length: last + 1 }, (_, at) => axis.known[Math.round(at / last * (axis.known.length - 1))]);
  const change = () => {
    const [low, high] = [Number(lower.value), Number(upper.value)].sort((a, b) => a - b);
    const open = low === 0 && high === last;
    setFilter(axis.name, open ? null : { low: low ? stops[low] : -Infinity, high: high < last ? stops[high] : Infinity });
  };
  const slider = (end, value) => element("input", {
    type: "range", id: `filter-${number}-${end}`, min: 0, max: last, value, oninput: change, "aria-label": `${axis.name}: ${end}`,
  });
  const [lower, upper] = [slider("from", 0), slider("to", last)];
  const text = element("output", {});
  const node = element("fieldset", {}, element("legend", {}, axis.name), lower, upper, text);
  const update = () => {
    const filter = state.filters.get(axis.name) ?? { low: -Infinity, high: Infinity };
    const low = stops.findIndex((value) => value >= filter.low);
    const high = stops.findLastIndex((value) => value <= filter.high);
    [lower.value, upper.value] = [low < 0 ? last : low, high < 0 ? 0 : high];
    for (const input of [lower, upper]) input.setAttribute("aria-valuetext", written(stops[Number(input.value)]));
    text.textContent = `${written(Math.max(filter.low, stops[0]), 3)} to ${written(Math.min(filter.high, stops[last]), 3)}`;
  };
  return { node, update };
}
