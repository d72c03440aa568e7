// The grid of products: paste from a spreadsheet, move with Enter, suggestions.

// Shows the control of the chosen field of "one value for all".
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-set-field]")) return;
  document.querySelectorAll("[data-set-value]").forEach((field) => {
    field.hidden = field.dataset.setValue !== event.target.value;
  });
  document.querySelector("[data-set-clear]").hidden = !event.target.selectedOptions[0].matches("[data-clearable]");
});

function cellsOf(row) {
  return [...row.querySelectorAll("[data-cell], select")];
}

function fill(cell, text) {
  if (cell.matches("select")) {
    const wanted = text.trim().toLowerCase();
    const found = [...cell.options].find((option) => [option.value, option.text.toLowerCase()].includes(wanted));
    if (found) cell.value = found.value;
  } else cell.value = text;
  cell.dispatchEvent(new Event("input", { bubbles: true }));
}

// Rows of a spreadsheet: cells between tabs; one with line breaks or quotation marks is quoted.
function parsePasted(text) {
  const rows = [[""]];
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    const row = rows[rows.length - 1];
    if (quoted) {
      if (letter === '"' && text[at + 1] === '"') { row[row.length - 1] += '"'; at += 1; }
      else if (letter === '"') quoted = false;
      else row[row.length - 1] += letter;
    } else if (letter === '"' && row[row.length - 1] === "") quoted = true;
    else if (letter === "\t") row.push("");
    else if (letter === "\n") rows.push([""]);
    else if (letter !== "\r") row[row.length - 1] += letter;
  }
  if (rows.length > 1 && rows[rows.length - 1].join("") === "") rows.pop();
  return rows;
}

document.addEventListener("paste", (event) => {
  const cell = event.target.closest?.("[data-grid] [data-cell]");
  if (!cell) return;
  const pasted = parsePasted(event.clipboardData.getData("text/plain"));
  const isOneCell = pasted.every((texts) => texts.length === 1) && cell.matches("textarea");
  if (isOneCell || (pasted.length === 1 && pasted[0].length === 1)) return;
  event.preventDefault();
  const rows = [...cell.closest("tbody").rows];
  const first = rows.indexOf(cell.closest("tr"));
  const column = cellsOf(rows[first]).indexOf(cell);
  let outside = 0;
  pasted.forEach((texts, y) => texts.forEach((text, x) => {
    const target = rows[first + y] && cellsOf(rows[first + y])[column + x];
    if (target) fill(target, text);
    else outside += 1;
  }));
  if (outside) say(`${outside} pasted ${outside === 1 ? "value does" : "values do"} not fit into the rows of this page.`);
});

document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("[data-grid] [data-cell]");
  if (!cell || event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  const isMultiline = cell.matches("textarea");
  const step = event.key === "Enter" && !isMultiline ? (event.shiftKey ? -1 : 1) : 0;
  if (!step) return;
  event.preventDefault();
  const rows = [...cell.closest("tbody").rows];
  const row = rows[rows.indexOf(cell.closest("tr")) + step];
  if (row) cellsOf(row)[cellsOf(cell.closest("tr")).indexOf(cell)].focus();
  else cell.form.querySelector("[name=action]").focus();
});

function accept(button) {
  const cell = button.closest("td").querySelector("[data-cell]");
  if (cell.value === "") fill(cell, button.dataset.likely);
  button.remove();
  return cell;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-likely]");
  if (button) accept(button).focus();
  if (!event.target.matches("[data-likely-all]")) return;
  const buttons = [...document.querySelectorAll("[data-likely]")];
  buttons.forEach(accept);
  event.target.hidden = true;
  say(`${buttons.length} ${buttons.length === 1 ? "suggestion is" : "suggestions are"} filled in, and not saved yet.`);
});
const suggestAll = document.querySelector("[data-likely-all]");
if (suggestAll) suggestAll.hidden = !document.querySelector("[data-likely]");
