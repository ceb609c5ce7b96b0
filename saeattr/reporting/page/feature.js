// The page of one feature.
const byAddress = new Map(data.features.map((row) => [row.address, row]));

function tokenSpan(context, position, activation, most, run) {
  const swapped = context.swaps && context.swaps[position];
  const token = run === "corrupted" && swapped !== undefined ? swapped : context.tokens[position];
  const span = element("span", { class: swapped !== undefined ? "token swap" : "token" });
  // A line break is shown as a sign, and breaks the line as well.
  const visible = token.replaceAll("\n", "\u23ce\n").replaceAll("\t", "\u21e5");
  span.textContent = token === " " ? "\u2423" : visible;
  span.title = `${context.roles[position]}, position ${context.start + position}, activation ${number(activation)}`;
  if (activation > 0) {
    const strength = 0.12 + 0.58 * Math.min(1, activation / most);
    span.style.backgroundColor = `rgba(var(--${run}), ${strength.toFixed(3)})`;
  }
  return span;
}

function contextCard(firing, most) {
  const context = data.contexts[firing.context];
  const runs = ["clean", "corrupted"].filter((run) => firing[run]).map((run) => {
    const at = new Map(firing.position.map((position, index) => [position, firing[run][index]]));
    const tokens = context.tokens.map((_, position) => tokenSpan(context, position, at.get(position) || 0, most, run));
    return element("div", { class: "run" }, element("p", { class: "small", text: run }), element("p", { class: "tokens" }, ...tokens));
  });
  const group = data.groups[context.group].name;
  const top = Math.max(...(firing.clean || []), ...(firing.corrupted || []));
  return element("div", { class: "context" },
    element("h4", { text: `${group}, pair ${context.pair_id}: largest activation ${number(top)}` }),
    element("div", { class: "runs" }, ...runs));
}

function histogram(detail) {
  const { edges, clean, corrupted } = detail.histogram;
  const width = 420, height = 150, left = 42, bottom = 24;
  const most = Math.max(...clean, ...(corrupted || [0]), 1);
  const label = `Histogram of activations above zero, from ${number(edges[0])} to ${number(edges[edges.length - 1])}`;
  const svg = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, width, height });
  const step = (width - left - 8) / clean.length;
  const series = corrupted ? [["clean", clean], ["corrupted", corrupted]] : [["clean", clean]];
  series.forEach(([name, counts], nth) => counts.forEach((count, bin) => {
    const tall = (count / most) * (height - bottom - 10);
    const bar = { x: left + bin * step + (nth * step) / series.length + 0.5, y: height - bottom - tall };
    svg.append(drawing("rect", { ...bar, width: Math.max(1, step / series.length - 1), height: tall, class: name }));
  }));
  const base = height - bottom;
  svg.append(drawing("line", { x1: left, x2: width - 8, y1: base, y2: base, class: "axis" }));
  svg.append(drawing("text", { x: left, y: height - 8 }, number(edges[0], 1)));
  svg.append(drawing("text", { x: width - 8, y: height - 8, "text-anchor": "end" }, number(edges[edges.length - 1], 1)));
  svg.append(drawing("text", { x: width / 2 + 15, y: height - 8, "text-anchor": "middle" }, "activation"));
  svg.append(drawing("text", { x: left - 5, y: 16, "text-anchor": "end" }, most));
  svg.append(drawing("text", { x: left - 5, y: base, "text-anchor": "end" }, 0));
  return svg;
}

// Estimate (hollow, above) and exact effect (in its verdict's colour, below) of one group: medians with intervals.
function effectsDrawing(entry, scale, width) {
  const text = `estimated ${median(entry.median, entry.low, entry.high)}`
    + (known(entry.exact) ? `, exact ${median(entry.exact, entry.exact_low, entry.exact_high)}` : "");
  const svg = drawing("svg", { viewBox: `0 0 ${width} 22`, width, height: 22, role: "img", "aria-label": text });
  svg.append(drawing("line", { x1: scale(0), x2: scale(0), y1: 0, y2: 22, class: "axis" }));
  const both = (kind, y, value, low, high) => {
    const parts = known(low) ? [drawing("line", { x1: scale(low), x2: scale(high), y1: y, y2: y, class: kind })] : [];
    parts.push(drawing("circle", { cx: scale(value), cy: y, r: 3.5, class: kind }));
    svg.append(...parts);
    return parts;
  };
  both("estimate", 6, entry.median, entry.low, entry.high);
  if (!known(entry.exact)) return svg;
  const colour = data.verdicts.find((verdict) => verdict.name === entry.verdict)?.colour;
  for (const part of both("exact", 16, entry.exact, entry.exact_low, entry.exact_high)) {
    part.style.stroke = part.style.fill = colour;
  }
  return svg;
}

function estimatedTable(entries) {
  const ends = entries.flatMap((entry) => [entry.median, entry.low, entry.high, entry.exact, entry.exact_low, entry.exact_high]);
  const low = Math.min(0, ...ends.filter(known)), high = Math.max(0, ...ends.filter(known));
  const width = 140, scale = (value) => 6 + ((value - low) / (high - low || 1)) * (width - 12);
  const names = [{ name: "group" }, { name: "effect", number: true }, { name: "median [95 % interval]", number: true },
    { name: "" }, { name: "active in", number: true }];
  const exact = entries.some((entry) => known(entry.exact)) ? "; below it in the drawing: measured" : "";
  return plainTable(names, entries.map((entry) => [data.groups[entry.group].name, number(entry.effect, 3, true),
    median(entry.median, entry.low, entry.high), effectsDrawing(entry, scale, width),
    `${entry.n_pairs} of ${data.groups[entry.group].n_pairs}`]),
  `Estimated change of the metric: mean, and median over distinct pairs${exact}`);
}

function measuredTable(entries) {
  const names = [{ name: "group" }, { name: "verdict", class: "words" }, { name: "exact median [95 %]", number: true },
    { name: "of gap", number: true }, { name: "controls", number: true }, { name: "q", number: true }, { name: "tested on", number: true }];
  return plainTable(names, entries.map((entry) => [data.groups[entry.group].name, verdictMark(entry.verdict),
    median(entry.exact, entry.exact_low, entry.exact_high), percent(entry.share), `${entry.as_strong}/${entry.controls}`,
    falseDiscovery(entry.q), entry.tests]),
  "Measured by patching the feature, in pairs that did not rank it: how many of its controls, equally long moves along other "
    + "features, do as much; tested on: distinct pairs");
}

function effectsByGroup(row) {
  const entries = [...row.by_group].sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
  const tested = entries.filter((entry) => known(entry.exact));
  const scrolled = (name, table) =>
    element("div", { class: "scroll tall tight", tabindex: 0, role: "region", "aria-label": name }, table);
  return [heading(3, "Effect by group"), scrolled("Estimated effect by group", estimatedTable(entries)),
    ...(tested.length ? [heading(3, "Exact effect and verdict by group"), scrolled("Exact effect by group", measuredTable(tested))] : [])];
}

function logitList(title, entries) {
  return element("div", {}, heading(3, title), plainTable([{ name: "token", class: "words" }, { name: "logit", number: true }],
    entries.map(([token, value]) => [shown(token), number(value, 3, true)])));
}

function featureLink(address) {
  return byAddress.has(address) ? element("a", { href: "#" + address, text: address }) : document.createTextNode(address);
}

function logitParts(detail) {
  if (!detail.top_logits) return [];
  return [element("div", { class: "pair" }, logitList("Tokens it writes for", detail.top_logits),
    logitList("Tokens it writes against", detail.bottom_logits)), element("p", { class: "small", text: data.logits_note })];
}

function neighbourParts(detail) {
  if (!detail.neighbours) return [];
  return [heading(3, "Nearest features of the same SAE"), plainTable(
    [{ name: "feature", class: "address" }, { name: "decoder cosine", number: true }],
    detail.neighbours.map(([address, cosine]) => [featureLink(address), number(cosine, 3, true)]))];
}

function upstreamParts(detail) {
  if (!detail.upstream) return [];
  const features = plainTable(
    [{ name: "feature", class: "address" }, { name: "adds", number: true }, { name: "mostly at", class: "words" }],
    detail.upstream.map(([address, effect, place]) => [featureLink(address), number(effect, 3, true), place]));
  const sites = plainTable(
    [{ name: "site", class: "address" }, { name: "features", number: true }, { name: "error term", number: true }],
    detail.upstream_sites.map(([site, sum, error]) => [site, number(sum, 2, true), number(error, 2, true)]));
  return [heading(3, "Upstream: what makes it active"),
    element("p", { class: "small", text: `${detail.upstream_at}. ${data.upstream_note}` }),
    element("div", { class: "scroll" }, features),
    element("details", {}, element("summary", { text: "By site, with the error term" }), element("div", { class: "scroll" }, sites))];
}

function labelBlock(row) {
  if (!row.label && !row.url) return null;
  const words = row.label || "page without an explanation so far";
  const doubt = row.label && row.doubtful ? " (doubtful: it is not shown to be about the SAE used here)" : "";
  const block = element("div", { id: "neuronpedia" },
    element("p", {}, element("strong", { text: "Neuronpedia: " }), link(row.url, words), document.createTextNode(doubt)));
  if (row.note) block.append(element("p", { class: "small", text: row.note }));
  if (/^https:\/\//.test(row.embed_url || "")) {
    const button = element("button", { type: "button", class: "button", text: "Show the dashboard (fetched from the network)" });
    button.addEventListener("click", () => button.replaceWith(element("iframe", { src: row.embed_url, title: "Dashboard of " + row.address,
      sandbox: "allow-scripts allow-same-origin allow-popups", referrerpolicy: "no-referrer" })));
    block.append(button);
  }
  return block;
}

function drawFeature(row) {
  const at = data.features.indexOf(row);
  const beside = (step, text) => {
    const other = data.features[at + step];
    return other ? element("a", { class: "button", href: "#" + other.address, text }) : null;
  };
  const detail = row.detail;
  const firings = detail ? detail.firings : [];
  const most = Math.max(0, ...firings.flatMap((firing) => [...(firing.clean || []), ...(firing.corrupted || [])]));
  const where = `${row.family ? row.family + ", in the top sets of " + row.n_groups + " of " + data.groups.length + " groups; " : ""}acts most at ${row.role} ${shown(row.token)}`;
  const fires = firings.length ? [heading(2, "Where it fires"),
    element("p", { class: "small" }, element("span", { class: "key", text: "clean" }), element("span", { class: "key corrupted", text: "corrupted" }),
      document.createTextNode("The stronger the colour, the larger the activation; swapped tokens are underlined.")),
    ...firings.map((firing) => contextCard(firing, most))] : [];
  const density = detail ? [heading(3, "Activation"), element("p", { class: "small", text: detail.density }), histogram(detail)] : [];
  document.getElementById("feature").replaceChildren(
    element("div", { class: "bar" }, element("a", { class: "button", href: "#features", text: "\u2190 all features" }), beside(-1, "previous"), beside(1, "next")),
    element("h2", { id: "feature-title", text: row.address }), element("p", { text: where }), ...[labelBlock(row)].filter(Boolean),
    // Over the whole width: in a column its last cells would be hidden behind the edge.
    ...effectsByGroup(row),
    // A page made without the model knows no logits: nothing stands in the second column then.
    element("div", { class: "columns" },
      ...(detail ? [[...density, ...neighbourParts(detail)], [...logitParts(detail), ...upstreamParts(detail)]] : [])
        .filter((parts) => parts.length).map((parts) => element("div", {}, ...parts))),
    ...fires);
}
