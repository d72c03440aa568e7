// data-suggest="brand": a text field with a list of suggestions for its text, an ARIA combobox. The
// list comes from the address in data-suggestions of the header, or in data-from of the field; an
// option with data-href leads to that address. Without this script, and if the
// server does not answer, it is a plain text field.
"use strict";

const SUGGEST_DELAY_MS = 120;
let suggestTimer = null;
let suggestRequest = null;

function suggestionsOf(input) {
  return document.getElementById(`${input.id}-suggestions`);
}

function optionsOf(list) {
  return [...list.querySelectorAll("[role=option]")];
}

function prepareSuggestions(root) {
  root.querySelectorAll("[data-suggest]").forEach((input) => {
    if (suggestionsOf(input)) return;
    const list = document.createElement("div");
    list.id = `${input.id}-suggestions`;
    list.className = "suggestions";
    list.setAttribute("role", "listbox");
    list.hidden = true;
    const count = document.createElement("p");
    count.className = "visually-hidden";
    count.setAttribute("role", "status");
    input.after(list, count);
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-controls", list.id);
  });
}

function closeSuggestions(input) {
  clearTimeout(suggestTimer);
  suggestRequest?.abort();
  const list = suggestionsOf(input);
  if (!list) return;
  list.hidden = true;
  list.removeAttribute("aria-label");
  list.replaceChildren();
  list.nextElementSibling.textContent = "";
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

async function openSuggestions(input) {
  suggestRequest?.abort();
  const request = suggestRequest = new AbortController();
  const address = input.dataset.from || document.querySelector("[data-suggestions]").dataset.suggestions;
  const query = new URLSearchParams({ of: input.dataset.suggest, q: input.value });
  let html = "";
  try {
    const response = await fetch(`${address}?${query}`, { signal: request.signal, headers: { "HX-Request": "true" } });
    if (response.ok) html = await response.text();
  } catch {
    // Aborted, or offline: the field works without suggestions.
  }
  if (request.signal.aborted || document.activeElement !== input) return;
  const list = suggestionsOf(input);
  list.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.children);
  const options = optionsOf(list);
  options.forEach((option, index) => { option.id = `${list.id}-${index}`; });
  list.setAttribute("aria-label", input.labels[0]?.textContent.trim() || "Suggestions");
  list.hidden = options.length === 0;
  input.setAttribute("aria-expanded", String(!list.hidden));
  input.removeAttribute("aria-activedescendant");
  sayCount(input, options.length);
}

// For screen readers, which do not say that a list has opened or changed.
function sayCount(input, count) {
  const texts = ["Nothing found", "1 suggestion"];
  suggestionsOf(input).nextElementSibling.textContent = texts[count] ?? `${count} suggestions`;
}

function markSuggestion(input, index) {
  const options = optionsOf(suggestionsOf(input));
  options.forEach((option, place) => option.setAttribute("aria-selected", String(place === index)));
  if (!options[index]) return input.removeAttribute("aria-activedescendant");
  options[index].scrollIntoView({ block: "nearest" });
  input.setAttribute("aria-activedescendant", options[index].id);
}

function chooseSuggestion(input, option) {
  if (option.dataset.href) return location.assign(option.dataset.href);
  input.value = option.dataset.value;
  showChoice(input, option.dataset.label);
  closeSuggestions(input);
  input.dispatchEvent(new Event("change", { bubbles: true }));
}

// Below the field, what a chosen value such as a GTIN means.
function showChoice(input, label) {
  let note = document.getElementById(`${input.id}-choice`);
  if (!note) {
    note = document.createElement("p");
    note.id = `${input.id}-choice`;
    note.className = "suggestion-choice";
    note.setAttribute("role", "status");
    suggestionsOf(input).nextElementSibling.after(note);
  }
  note.textContent = label === input.value ? "" : label;
}

prepareSuggestions(document);
document.addEventListener("htmx:afterSwap", () => prepareSuggestions(document));

document.addEventListener("input", (event) => {
  const input = event.target.closest?.("[data-suggest]");
  if (!input) return;
  showChoice(input, input.value);
  // Enter submits the new text until a suggestion for it is marked.
  markSuggestion(input, -1);
  clearTimeout(suggestTimer);
  suggestTimer = setTimeout(() => openSuggestions(input), SUGGEST_DELAY_MS);
});

document.addEventListener("keydown", (event) => {
  const input = event.target.closest?.("[data-suggest]");
  // While a character is composed, the keys belong to the input method.
  if (!input || event.isComposing) return;
  const list = suggestionsOf(input);
  const options = optionsOf(list);
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    if (list.hidden) return void openSuggestions(input);
    // One step past either end is the text itself.
    const step = event.key === "ArrowDown" ? 1 : -1;
    const places = options.length + 1;
    markSuggestion(input, ((at + 1 + step + places) % places) - 1);
  } else if (event.key === "Enter" && options[at]) {
    event.preventDefault();
    chooseSuggestion(input, options[at]);
  } else if (event.key === "Escape" && !list.hidden) {
    event.preventDefault();
    closeSuggestions(input);
  }
});

document.addEventListener("click", (event) => {
  const option = event.target.closest?.(".suggestions [role=option]");
  if (option) return chooseSuggestion(option.closest(".suggestions").previousElementSibling, option);
  const input = event.target.closest?.("[data-suggest]");
  if (input && suggestionsOf(input).hidden) openSuggestions(input);
});
// A press on the list keeps the focus in the field.
document.addEventListener("pointerdown", (event) => {
  if (event.target.closest?.(".suggestions")) event.preventDefault();
});
document.addEventListener("mousedown", (event) => {
  if (event.target.closest?.(".suggestions")) event.preventDefault();
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.("[data-suggest]")) closeSuggestions(event.target);
});

// Ctrl-K, or Command-K, leads to the search field, or to its page where there is no room for it.
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  const input = document.getElementById("find");
  if (!input) return;
  event.preventDefault();
  if (input.offsetParent === null) location.assign(input.form.action);
  input.focus();
  input.select();
});
