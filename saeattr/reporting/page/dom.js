"use strict";
// Text from the data reaches the page through textContent only: nothing in it can become markup.
const data = JSON.parse(document.getElementById("data").textContent);

function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null) continue;
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function drawing(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function number(value, digits = 2, sign = false) {
  if (value === null || value === undefined) return "";
  const shown = Math.abs(value).toFixed(digits);
  // A true minus sign lines up with the plus sign.
  if (value < 0 && Number(shown) !== 0) return "\u2212" + shown;
  return (sign ? "+" : "") + shown;
}

function known(value) {
  return value !== null && value !== undefined;
}

function range(low, high) {
  return known(low) ? `${number(low, 2, true)} to ${number(high, 2, true)}` : "";
}

// A median with its 95 % interval, which fewer than six pairs do not have.
function median(value, low, high) {
  if (!known(value)) return "";
  return `${number(value, 2, true)} [${known(low) ? `${number(low, 2, true)}, ${number(high, 2, true)}` : "too few pairs"}]`;
}

// A verdict with a mark in its colour; several verdicts in one text have no mark.
function verdictMark(name) {
  const verdict = data.verdicts.find((one) => one.name === name);
  const mark = verdict ? element("span", { class: "mark", "aria-hidden": "true" }) : null;
  if (mark) mark.style.backgroundColor = verdict.colour;
  return element("span", {}, mark, document.createTextNode(name || ""));
}

function falseDiscovery(q) {
  return known(q) && q < 0.001 ? "<0.001" : number(q, 3);
}

function percent(value) {
  return value === null || value === undefined ? "" : `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
}

// White space made visible, as in the figures.
function shown(token) {
  const text = token.replaceAll("\n", "\u23ce").replaceAll("\t", "\u21e5");
  return text.trim() === "" ? text.replaceAll(" ", "\u2423") : text.trim();
}

function plainTable(columns, rows, caption) {
  const head = element("tr", {}, ...columns.map((column) =>
    element("th", { scope: "col", class: column.number ? "number" : "", text: column.name })));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, at) => {
    const inside = cell instanceof Node ? cell : document.createTextNode(cell ?? "");
    return element("td", { class: columns[at].number ? "number" : columns[at].class || "" }, inside);
  })));
  return element("table", {}, caption ? element("caption", { class: "small", text: caption }) : null,
    element("thead", {}, head), element("tbody", {}, ...body));
}

function heading(level, text) {
  return element("h" + level, { text });
}

// Only https addresses become links; anything else stays text.
function link(url, text) {
  if (!/^https:\/\//.test(url || "")) return element("span", { text });
  return element("a", { href: url, rel: "noopener noreferrer", target: "_blank", text });
}
