// What every page can do, by attributes; htmx swaps, this file does the rest.
"use strict";

// data-refresh="15": sends the element htmx's own `refresh` event so many seconds apart, only while
// the tab is visible, and at once when it becomes visible again.
const refreshedAt = new WeakMap();

function refresh(isLongAgo) {
  if (document.visibilityState !== "visible") return;
  document.querySelectorAll("[data-refresh]").forEach((element) => {
    if (!refreshedAt.has(element)) refreshedAt.set(element, Date.now());
    const age = (Date.now() - refreshedAt.get(element)) / 1000;
    if (!isLongAgo(age, Number(element.dataset.refresh))) return;
    refreshedAt.set(element, Date.now());
    htmx.trigger(element, "refresh");
  });
}

setInterval(() => refresh((age, every) => age >= every), 1000);
document.addEventListener("visibilitychange", () => refresh(() => true));

// data-patch="event": what htmx gets for this element is not put in its place. Only the texts of
// parts with data-live that differ are changed, found by their ids: focus, selection and scrolling
// stay. A part that says what it is (data-live="Broken offers") is marked for a moment and told to
// screen readers in #changes; when there is one, the event is sent, for others that have to follow.
document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  if (!target.dataset.patch || !event.detail.shouldSwap) return;
  event.detail.shouldSwap = false;
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
  const told = [];
  fresh.querySelectorAll("[data-live]").forEach((part) => {
    const shown = document.getElementById(part.id);
    if (!shown || shown.textContent === part.textContent) return;
    shown.textContent = part.textContent;
    if (!part.dataset.live) return;
    told.push(`${part.dataset.live}: ${part.textContent}`);
    shown.classList.add("changed");
    setTimeout(() => shown.classList.remove("changed"), 3000);
  });
  if (told.length === 0) return;
  document.getElementById("changes").textContent = told.join(", ");
  htmx.trigger(document.body, target.dataset.patch);
});

// Where the navigation is wider than the screen, the page one is on is in sight.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

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
  const boxes = [...form.elements].filter((element) => element.matches("input[data-row]"));
  if (event.target.matches("[data-select-all]")) {
    boxes.forEach((box) => { box.checked = event.target.checked; });
  }
  showSelection(form, boxes);
});
// A row that was put in the place of another one is not ticked.
document.addEventListener("htmx:afterSwap", () => {
  const form = document.querySelector("[data-selection]")?.closest("form");
  if (form) showSelection(form, [...form.elements].filter((element) => element.matches("input[data-row]")));
});

function showSelection(form, boxes) {
  const chosen = boxes.filter((box) => box.checked).length;
  const bar = form.querySelector("[data-selection]");
  if (!bar) return;
  bar.hidden = chosen === 0;
  bar.querySelector("[data-selected]").textContent = String(chosen);
  const all = [...form.elements].find((element) => element.matches("[data-select-all]"));
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
  if (event.detail.xhr.getResponseHeader("HX-Trigger")) return; // It says something itself.
  if (status === 401 || status === 403) say("You may not do this, or you are logged out: reload the page.");
  else if (status === 404) say("This is gone: reload the page.");
  else if (status === 413) say("This is too large to be sent at once: choose fewer or smaller files.");
  else if (status === 429 || status === 503) say("Too busy just now; try again in a moment.");
  else say("Something failed on our side; try again in a moment.");
});
document.addEventListener("htmx:sendError", () => say("The service cannot be reached; are you online?"));
// A server event `say` (header HX-Trigger: {"say": "..."}) is shown likewise.
document.addEventListener("say", (event) => say(event.detail.value));
