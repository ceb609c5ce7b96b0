// The overview, and which view the address asks for.
function drawFigures() {
  for (const place of document.querySelectorAll("[data-figures]")) {
    const own = data.figures.filter((figure) => figure.section === place.dataset.figures);
    place.replaceChildren(...own.map((figure) => element("figure", {},
      element("img", { src: figure.source, alt: figure.text, width: figure.width, height: figure.height, loading: "lazy" }),
      element("figcaption", { text: figure.caption }))));
  }
}

function drawOverview() {
  document.getElementById("question").textContent = data.question;
  document.getElementById("findings").replaceChildren(...data.findings.map((text) => element("li", { text })));
  document.getElementById("facts").replaceChildren(...data.facts.flatMap(([name, value]) =>
    [element("dt", { text: name }), element("dd", { text: value })]));
  const notes = document.getElementById("notes");
  notes.hidden = data.notes.length === 0;
  notes.replaceChildren(...data.notes.map((text) => element("li", { text })));
  drawFigures();
}

// Groups, verdicts and checks: the page of a study without features has no place for them.
function drawTables() {
  const groups = [{ name: "group" }, { name: "distinct pairs", number: true }, { name: "decision points", number: true },
    { name: "metric at the last point, clean", number: true }, { name: "corrupted", number: true }, { name: "difference", number: true }];
  const tested = data.groups.some((group) => group.verdicts);
  if (tested) groups.push({ name: "tested on", number: true }, { name: "verdicts" });
  document.getElementById("groups-table").replaceChildren(plainTable(groups, data.groups.map((group) =>
    [group.name, group.n_pairs, number(group.points, 1), number(group.clean, 2, true), number(group.corrupted, 2, true),
      number(group.clean - group.corrupted, 2, true), ...(tested ? [group.tests, group.verdicts] : [])])));
  document.getElementById("verdicts").hidden = !tested;
  document.getElementById("meanings").replaceChildren(...data.verdicts.flatMap((verdict) =>
    [element("dt", {}, verdictMark(verdict.name)), element("dd", { text: verdict.meaning })]));
  document.getElementById("evidence").replaceChildren(...data.evidence.map((text) => element("li", { text })));
  const checks = [{ name: "site", class: "address" }, { name: "estimates / exact", number: true }, { name: "95 %", number: true },
    { name: "in pairs", number: true }, { name: "error term's part", number: true },
    { name: "L0", number: true }, { name: "variance missed", number: true }];
  document.getElementById("checks-table").replaceChildren(plainTable(checks, data.checks.map((check) =>
    [check.site, number(check.ratio), check.low === null ? "" : `${number(check.low)} to ${number(check.high)}`, check.n_pairs, number(check.error_share), number(check.l0, 1), percent(check.unexplained)])));
}

function route() {
  let wanted = location.hash.slice(1);
  try {
    wanted = decodeURIComponent(wanted);
  } catch {
    wanted = "";
  }
  const row = byAddress.get(wanted);
  const page = document.getElementById("feature"), overview = document.getElementById("overview");
  page.hidden = !row;
  overview.hidden = Boolean(row);
  document.title = row ? `${row.address} \u2013 ${data.title}` : data.title;
  if (row) {
    drawFeature(row);
    window.scrollTo(0, 0);
    page.focus({ preventScroll: true });
    return;
  }
  const target = /^[a-z]+$/.test(wanted) ? document.getElementById(wanted) : null;
  if (target && overview.contains(target)) target.focus(), target.scrollIntoView();
  if (wanted.includes("/") && data.features.length) document.getElementById("count").textContent = `${wanted} is not among the features of this report`;
}

drawOverview();
if (data.features.length) {
  drawTables();
  startTable();
}
window.addEventListener("hashchange", route);
route();
