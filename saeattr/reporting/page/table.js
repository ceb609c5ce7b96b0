// The sortable and filterable table of features.
const ALL = "";
const state = { sort: "size", down: true };

const columns = [
  { key: "address", name: "feature", value: (row) => [row.layer, row.kind, row.feature], class: "address" },
  { key: "label", name: "label", value: (row) => row.label || "", class: "label",
    when: () => data.features.some((row) => row.label) },
  { key: "verdict", name: "verdict", value: (row) => current(row).verdict || "", class: "words", when: () => tested },
  { key: "effect", name: "effect", value: (row) => current(row).effect, number: true },
  { key: "size", name: "|effect|", value: (row) => Math.abs(current(row).effect), number: true },
  { key: "low", name: () => (oneGroup() ? "median [95 % interval]" : "range over groups"),
    value: (row) => (oneGroup() ? current(row).median : current(row).low), number: true },
  { key: "exact", name: "exact median [95 %]", value: (row) => current(row).exact, number: true, when: measured },
  { key: "share", name: "of gap", value: (row) => current(row).share, number: true, when: measured },
  { key: "controls", name: "controls", value: (row) => current(row).as_strong, number: true, when: measured },
  { key: "q", name: "q", value: (row) => current(row).q, number: true, when: measured },
  { key: "tests", name: "tested on", value: (row) => current(row).tests, number: true, when: measured },
  { key: "place", name: "acts most at", value: (row) => row.role + " " + row.token, class: "words" },
  { key: "n_groups", name: "groups", value: (row) => row.n_groups, number: true, when: () => data.groups.length > 1 },
  { key: "family", name: "family", value: (row) => row.family, when: () => data.groups.length > 1, class: "words" },
];
const tested = data.features.some((row) => row.by_group.some((entry) => entry.verdict));

function shownColumns() {
  return columns.filter((column) => column.when === undefined || column.when());
}

function oneGroup() {
  return chosenGroup() !== ALL || data.groups.length === 1;
}

// What was measured is of one group.
function measured() {
  return tested && oneGroup();
}

function chosenGroup() {
  return document.getElementById("by-group").value;
}

// A feature's numbers for the chosen group, or over all groups.
function current(row) {
  const group = data.groups.length === 1 ? "0" : chosenGroup();
  if (group === ALL) return { effect: row.effect, low: row.low, high: row.high, verdict: row.verdict };
  return row.by_group.find((entry) => String(entry.group) === group) || {};
}

function compare(a, b) {
  if (Array.isArray(a)) {
    for (let at = 0; at < a.length; at++) {
      const order = compare(a[at], b[at]);
      if (order) return order;
    }
    return 0;
  }
  // What is not known comes before all numbers.
  if (!known(a) || !known(b)) return Number(known(a)) - Number(known(b));
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function visibleRows() {
  const words = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [kind, layer, family] = ["by-kind", "by-layer", "by-family"].map((id) => document.getElementById(id).value);
  const rows = data.features.filter((row) => {
    const text = `${row.address} ${row.label || ""} ${row.role} ${shown(row.token)} ${row.family}`.toLowerCase();
    return words.every((word) => text.includes(word)) && (kind === ALL || row.kind === kind)
      && (layer === ALL || String(row.layer) === layer) && (family === ALL || row.family === family)
      && (chosenGroup() === ALL || current(row).effect !== undefined);
  });
  const column = columns.find((one) => one.key === state.sort);
  return rows.sort((a, b) => (state.down ? -1 : 1) * compare(column.value(a), column.value(b)));
}

function cellText(row, column) {
  const now = current(row);
  if (column.key === "effect") return number(now.effect, 3, true);
  if (column.key === "size") return number(Math.abs(now.effect), 3);
  if (column.key === "low") return oneGroup() ? median(now.median, now.low, now.high) : range(now.low, now.high);
  if (column.key === "exact") return median(now.exact, now.exact_low, now.exact_high);
  if (column.key === "share") return percent(now.share);
  if (column.key === "controls") return known(now.controls) ? `${now.as_strong}/${now.controls}` : "";
  if (column.key === "q") return falseDiscovery(now.q);
  if (column.key === "n_groups") return `${row.n_groups}/${data.groups.length}`;
  if (column.key === "label") return (row.label || "") + (row.label && row.doubtful ? " (doubtful)" : "");
  if (column.key === "place") return `${row.role} ${shown(row.token)}`;
  return column.value(row);
}

function drawHead() {
  const cells = shownColumns().map((column) => {
    const name = typeof column.name === "function" ? column.name() : column.name;
    const button = element("button", { type: "button", text: name });
    button.addEventListener("click", () => {
      // Text starts at A, numbers at the largest.
      state.down = state.sort === column.key ? !state.down : Boolean(column.number);
      state.sort = column.key;
      drawTable();
      document.querySelector(`#feature-table th[data-key=${column.key}] button`).focus();
    });
    const order = state.sort !== column.key ? "none" : state.down ? "descending" : "ascending";
    return element("th", { scope: "col", "aria-sort": order, "data-key": column.key, class: column.number ? "number" : "" }, button);
  });
  document.querySelector("#feature-table thead").replaceChildren(element("tr", {}, ...cells));
}

function drawTable() {
  drawHead();
  const rows = visibleRows();
  document.querySelector("#feature-table tbody").replaceChildren(...rows.map((row) => {
    const cells = shownColumns().map((column) => {
      const style = column.number ? "number" : column.class || "";
      if (column.key === "verdict") return element("td", { class: style }, verdictMark(current(row).verdict));
      if (column.key !== "address") return element("td", { class: style, text: cellText(row, column) });
      return element("td", { class: style }, element("a", { href: "#" + row.address, text: row.address }));
    });
    const line = element("tr", {}, ...cells);
    line.addEventListener("click", (event) => {
      if (!event.target.closest("a")) location.hash = row.address;
    });
    return line;
  }));
  document.getElementById("count").textContent = `${rows.length} of ${data.features.length} features`;
}

function options(id, values, name) {
  const entries = [[ALL, name], ...values];
  document.getElementById(id).replaceChildren(...entries.map(([value, text]) => element("option", { value, text })));
}

function startTable() {
  const distinct = (key) => [...new Set(data.features.map((row) => row[key]))];
  options("by-group", data.groups.map((group, at) => [at, group.name]), "all groups");
  options("by-kind", distinct("kind").sort().map((kind) => [kind, kind]), "all kinds");
  options("by-layer", distinct("layer").sort((a, b) => a - b).map((layer) => [layer, layer]), "all layers");
  options("by-family", distinct("family").sort().map((family) => [family, family]), "all families");
  for (const id of ["by-group", "by-family"]) {
    document.getElementById(id).closest("label").hidden = data.groups.length < 2;
  }
  const form = document.getElementById("filters");
  form.addEventListener("input", drawTable);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("table-note").textContent = data.table_note;
  drawTable();
}
