// What every page can do, by attributes; htmx swaps, this file does the rest.
"use strict";

// data-refresh="15": sends the element htmx's own `refresh` event so many seconds apart, only while
// the tab is visible, and at once when it becomes visible again.
const refreshed = () => document.querySelectorAll("[data-refresh]");
let lastRefresh = Date.now();

function refreshNow() {
  if (document.visibilityState !== "visible") return;
  lastRefresh = Date.now();
  refreshed().forEach((element) => htmx.trigger(element, "refresh"));
}

setInterval(() => {
  const first = document.querySelector("[data-refresh]");
  if (first && Date.now() - lastRefresh >= 1000 * Number(first.dataset.refresh)) refreshNow();
}, 1000);
document.addEventListener("visibilitychange", refreshNow);

// data-copy="#id": copies the text of another element.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  await navigator.clipboard.writeText(source.textContent.trim());
  say("Copied.");
});

// data-submit: sends its form as soon as the value changes.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// data-select-all: ticks every box of the same name in its form; a bar with data-selection shows
// while at least one is ticked, with the number in data-selected.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form || event.target.type !== "checkbox") return;
  const boxes = [...form.querySelectorAll("input[data-row]")];
  if (event.target.matches("[data-select-all]")) {
    boxes.forEach((box) => { box.checked = event.target.checked; });
  }
  showSelection(form, boxes);
});

function showSelection(form, boxes) {
  const chosen = boxes.filter((box) => box.checked).length;
  const bar = form.querySelector("[data-selection]");
  if (!bar) return;
  bar.hidden = chosen === 0;
  bar.querySelector("[data-selected]").textContent = String(chosen);
  const all = form.querySelector("[data-select-all]");
  all.checked = chosen > 0 && chosen === boxes.length;
  all.indeterminate = chosen > 0 && chosen < boxes.length;
}

// A menu closes when one clicks elsewhere or presses Escape.
document.addEventListener("click", (event) => {
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    menu.open = false;
    menu.querySelector("summary").focus();
  });
});

// Says something shortly, for everybody: also to screen readers.
let silence;
function say(text) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.classList.add("toast-shown");
  clearTimeout(silence);
  silence = setTimeout(() => toast.classList.remove("toast-shown"), 4000);
}

document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status === 401 || status === 403) say("You may not do this, or you are logged out: reload the page.");
  else if (status === 404) say("This is gone: reload the page.");
  else if (status === 429 || status === 503) say("Too busy just now; try again in a moment.");
  else say("Something failed on our side; try again in a moment.");
});
document.addEventListener("htmx:sendError", () => say("The service cannot be reached; are you online?"));
// A server event `say` (header HX-Trigger: {"say": "..."}) is shown likewise.
document.addEventListener("say", (event) => say(event.detail.value));
