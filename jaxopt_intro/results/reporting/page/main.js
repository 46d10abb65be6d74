// The page: its switches, its reloading while the sweep runs, and the order of the views.

const KEPT = `jaxopt-intro report ${data.run}`;

/** The browser's store, which some viewers refuse to pages from files: the page then simply forgets. */
function remembered(store, key, value) {
  try {
    if (value === undefined) return store().getItem(key);
    if (value === null) store().removeItem(key);
    else store().setItem(key, value);
  } catch { /* nothing to remember with */ }
  return null;
}

function themeSwitch() {
  const chosen = remembered(() => localStorage, "jaxopt-intro theme");
  if (chosen) document.documentElement.dataset.theme = chosen;
  const name = () => `${isDark() ? "Light" : "Dark"} mode`;
  const button = element("button", { type: "button", id: "theme", onclick: () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    remembered(() => localStorage, "jaxopt-intro theme", document.documentElement.dataset.theme);
    repaint();
  } }, name());
  const repaint = () => { button.textContent = name(); tell("filter"); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  document.getElementById("page-controls").append(button);
}

/** Reloads a running sweep's page unless it was paused or is being used, and finds its way back to what was chosen. */
function reloading() {
  if (!data.reload) return;
  let [paused, used] = [state.chosen.paused ?? false, 0];
  const button = element("button", { type: "button", id: "pause", onclick: () => {
    state.chosen.paused = paused = !paused;
    show();
  } });
  const show = () => { button.textContent = paused ? "Reload again by itself" : "Pause reloading"; };
  for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, () => { used = Date.now(); }, { passive: true });
  setInterval(() => {
    if (paused || document.hidden || Date.now() - used < 8000) return;
    const filters = [...state.filters].map(([name, filter]) => [name, filter.labels ? { labels: [...filter.labels].map((value) => axes.get(name).labels[value]) } : { low: String(filter.low), high: String(filter.high) }]);
    const pinned = [...state.pinned].map((trial) => trials.id[trial]);
    remembered(() => sessionStorage, KEPT, JSON.stringify({ filters, pinned, chosen: state.chosen, scroll: scrollY }));
    location.reload();
  }, data.reload * 1000);
  show();
  document.getElementById("page-controls").append(button);
}

function restore() {
  const text = remembered(() => sessionStorage, KEPT);
  if (!text) return 0;
  remembered(() => sessionStorage, KEPT, null); // a reload by hand starts anew
  const { filters, pinned, chosen, scroll } = JSON.parse(text);
  state.chosen = chosen;
  for (const [name, filter] of filters.filter(([own]) => axes.has(own))) {
    const labels = filter.labels && new Set(filter.labels.map((own) => axes.get(name).labels.indexOf(own)));
    state.filters.set(name, labels ? { labels } : { low: Number(filter.low), high: Number(filter.high) });
  }
  for (const id of pinned) if (trials.id.includes(id)) state.pinned.add(trials.id.indexOf(id));
  applyFilters();
  return scroll;
}

const scroll = restore();
themeSwitch();
reloading();
parallelView();
filtersView();
tableView();
curvesView();
sensitivityView();
mapView();
progressView();
rungsView();
endingsView();
receiptView();
againView();
if (scroll) scrollTo(0, scroll);
document.documentElement.dataset.ready = "yes";
