// What needs no picture: the rungs of a pruned sweep, failures, the receipt, and how to run all of it again.

function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell))));
  return element("div", { class: "scroller" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

/** Names and values as a list; values that hold more are flattened to one line. */
function facts(entries) {
  const text = (value) => value === null ? "" : typeof value === "number" ? written(value, 5) : typeof value === "object" ? JSON.stringify(value) : String(value);
  const shown = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", {}, ...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, text(value))]));
}

function rungsView() {
  if (!data.rungs.length) return;
  const rungs = new Map(); // one epoch's verdicts may come in several records
  for (const { rung, values = {}, verdicts = [] } of data.rungs) {
    const own = rungs.get(rung) ?? { entered: new Set(), went: 0, stopped: 0, copied: 0, reasons: new Map() };
    Object.keys(values).forEach((trial) => own.entered.add(trial));
    for (const { trial, action, reason } of verdicts) {
      own.entered.add(trial);
      own[{ go: "went", stop: "stopped", copy: "copied" }[action]] += 1;
      if (action !== "go" && reason) own.reasons.set(reason, (own.reasons.get(reason) ?? 0) + 1);
    }
    rungs.set(rung, own);
  }
  const ordered = [...rungs].sort(([a], [b]) => a - b);
  const most = Math.max(...ordered.map(([, { entered }]) => entered.size), 1);
  const rows = ordered.map(([epoch, { entered, went, stopped, copied, reasons }]) => {
    const bar = element("span", { class: "meter", "aria-hidden": "true" });
    for (const [kind, count] of [["went", went], ["copied", copied], ["stopped", stopped]]) {
      const piece = element("i", { class: kind });
      piece.style.width = `${count / most * 100}%`;
      bar.append(piece);
    }
    const why = [...reasons].sort(([, a], [, b]) => b - a).slice(0, 2).map(([reason, count]) => `${reason} (${count})`).join("; ");
    return [`epoch ${epoch}`, bar, entered.size, went, stopped, copied, why];
  });
  card("rungs", "Rungs", "At each rung trials are compared: they go on, stop, or go on as a copy of a better one.",
    table(["rung", "", "entered", "went on", "stopped", "copied", "reasons"], rows));
}

function endingsView() {
  if (!data.endings.length) return;
  const rows = data.endings.map(({ status, reason, members, steps, trials: own }) => {
    const when = steps ? steps[0] === steps[1] ? `step ${steps[0]}` : `steps ${steps[0]} to ${steps[1]}` : "";
    const where = settingAxes.map((axis) => rangeAmong(axis, own)).filter(Boolean).join("; ");
    return [status === "finished" ? "stopped early" : status, reason, members, own.length, when, where];
  });
  card("endings", "Failures, prunings and early stops", null,
    table(["how", "reason", "trainings", "trials", "when", "settings of these trials"], rows));
}

/** Which values of a setting some trials have, where they are fewer than all have. */
function rangeAmong(axis, own) {
  const values = distinct(Float64Array.from(own, (trial) => axis.values[trial]));
  if (!values.length || values.length === axis.known.length) return "";
  if (axis.choice || values.length === 1) return `${axis.name} ${[...values].map((value) => label(axis, value)).join(", ")}`;
  const open = [values[0] === axis.known[0], values.at(-1) === axis.known.at(-1)];
  if (open[0] && open[1]) return "";
  return `${axis.name} ${written(values[0], 3)} to ${written(values.at(-1), 3)}`;
}

function receiptView() {
  const { receipt } = data;
  if (!receipt) return;
  const speed = (value) => value < 1000 ? written(value, 3) : Math.round(value).toLocaleString("en");
  const rate = (value, what) => value === undefined ? undefined : `${speed(value)} ${what}/s`;
  const time = (value) => value === undefined ? undefined : seconds(value);
  const entries = [
    ["device", deviceWords(receipt.device ?? data.device)], ["time", time(receipt.seconds)], ["of it compiling", time(receipt.compile_seconds)],
    ["of it measuring widths", time(receipt.measuring_seconds)],
    ["trials", receipt.trials], ["trainings", receipt.members], ["speed", rate(receipt.members_per_second, "trainings")],
    ["examples", rate(receipt.examples_per_second, "examples")],
    ["busy", receipt.busy === undefined ? undefined : `${written(receipt.busy * 100, 3)} % of the work went into live trials`],
  ];
  const groups = (receipt.groups ?? []).map((group) => {
    const rates = Object.entries(group.rates ?? {}).map(([width, value]) => `${width}: ${speed(value)}/s`).join(", ");
    const convolutions = [...new Set((group.convolutions ?? []).map(({ what, name, why }) => `${what}: ${name} (${why})`)), ...(group.other_convolutions ?? [])].join("; ");
    return [group.title || "all trials", group.members, `${group.width} × ${group.devices ?? 1}`, group.why, rates, [group.memory, convolutions].filter(Boolean).join("; ")];
  });
  const heads = ["program", "trainings", "side by side × devices", "why", "steps a second by width", "memory and convolutions"];
  card("receipt", "Receipt", "How fast the last session was, and why.", facts(entries), ...(groups.length ? [table(heads, groups)] : []));
}

function deviceWords({ platform, kind, count, cores, machine } = {}) {
  const what = platform === "cpu" ? `${cores ?? "?"} cores` : `${count ?? 1} × ${kind}`;
  return [platform ?? kind, platform ? what : null, machine].filter(Boolean).join(", ");
}

function againView() {
  const command = data.experiment_toml ? `jaxopt-intro sweep ${quoted(`${data.run}/experiment.toml`)}` : "";
  const copy = (text) => element("button", { type: "button", onclick: async () => say(await copyText(text) ? "Copied" : "This browser does not let the page copy") }, "Copy");
  const parts = command ? [
    element("p", {}, "The same sweep again, in a new directory:"), element("p", { class: "bar" }, element("code", {}, command), copy(command)),
    element("details", {}, element("summary", {}, "experiment.toml"), element("p", {}, copy(data.experiment_toml)), element("pre", { tabindex: "0" }, data.experiment_toml)),
  ] : [element("p", {}, "This run has no experiment.toml: what was asked is below.")];
  const { name, fingerprint, content_hash: content, source, train, citation, licence } = data.data;
  card("again", "How to run it again", null, ...parts,
    element("h3", {}, "Data"), facts([["name", name], ["fingerprint", fingerprint], ["content", content], ["source", source], ["training examples", train], ["licence", licence], ["citation", citation]]),
    element("h3", {}, "Versions"), facts(Object.entries(data.versions)),
    element("h3", {}, "Device"), facts(Object.entries(data.device)),
    element("h3", {}, "JAX"), facts(Object.entries(data.jax)),
    element("details", {}, element("summary", {}, "Every field of the experiment"), facts(Object.entries(data.experiment))),
    element("h3", {}, "Run"), facts([["directory", data.run], ["began", data.time]]));
}

/** A word for a shell. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
