// What every page can do, by attributes; htmx swaps, this file does the rest.
"use strict";

// data-refresh="15": sends the element htmx's own `refresh` event so many seconds apart, only while
// the tab is visible, and at once when it becomes visible again or is online again. While the
// answers fail, it asks less and less often, every five minutes at last. With data-while=".x" it
// asks only while the page has such an element.
const refreshedAt = new WeakMap();
const failures = new WeakMap();
const LONGEST_WAIT = 300;

function wait(element) {
  const every = Number(element.dataset.refresh);
  return Math.min(every * 2 ** (failures.get(element) || 0), Math.max(every, LONGEST_WAIT));
}

function refresh(isLongAgo) {
  if (document.visibilityState !== "visible") return;
  document.querySelectorAll("[data-refresh]").forEach((element) => {
    if (element.dataset.while && !document.querySelector(element.dataset.while)) return;
    if (!refreshedAt.has(element)) refreshedAt.set(element, Date.now());
    const age = (Date.now() - refreshedAt.get(element)) / 1000;
    if (!isLongAgo(age, wait(element))) return;
    refreshedAt.set(element, Date.now());
    htmx.trigger(element, "refresh");
  });
}

setInterval(() => refresh((age, every) => age >= every), 1000);
document.addEventListener("visibilitychange", () => refresh(() => true));
window.addEventListener("online", () => refresh(() => true));

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

// data-chart="Broken offers": a line whose values are shown one at a time: those under the pointer or
// the finger, and with the arrow keys those before and after. Points are days from today and values.
// Without this script the page that lists all values does.
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function pointsOf(chart) {
  return chart.dataset.points.split(",").map((text) => text.split(":").map(Number));
}

function textOf(chart, [day, value]) {
  const date = new Date(`${chart.dataset.today}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + day);
  const when = day === 0 ? "Today" : `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  const expected = day > 0 ? " expected" : "";
  return `${when}: ${value.toLocaleString("en-US")}${chart.dataset.unit}${expected}`;
}

function showPoint(chart, place) {
  const points = pointsOf(chart);
  const at = Math.min(Math.max(place, 0), points.length - 1);
  const { first, last } = chart.dataset;
  const x = Math.round((300 * (points[at][0] - first)) / (last - first));
  chart.dataset.at = at;
  chart.querySelector(".trend-mark").setAttribute("d", `M${x} 0V100`);
  chart.setAttribute("aria-valuenow", at);
  chart.setAttribute("aria-valuetext", textOf(chart, points[at]));
  const said = chart.parentElement.querySelector(".trend-point");
  said.textContent = textOf(chart, points[at]);
  said.hidden = false;
}

function hidePoint(chart) {
  chart.querySelector(".trend-mark").removeAttribute("d");
  chart.parentElement.querySelector(".trend-point").hidden = true;
}

function pointUnder(chart, event) {
  const box = chart.getBoundingClientRect();
  const { first, last } = chart.dataset;
  const day = Number(first) + ((event.clientX - box.left) / box.width) * (last - first);
  const away = pointsOf(chart).map(([one]) => Math.abs(one - day));
  return away.indexOf(Math.min(...away));
}

function today(chart) {
  return pointsOf(chart).findIndex(([day]) => day === 0);
}

function prepareCharts(root) {
  root.querySelectorAll("[data-chart]").forEach((chart) => {
    chart.tabIndex = 0;
    chart.setAttribute("role", "slider");
    chart.setAttribute("aria-label", `${chart.dataset.chart} by day`);
    chart.setAttribute("aria-valuemin", 0);
    chart.setAttribute("aria-valuemax", pointsOf(chart).length - 1);
    chart.setAttribute("aria-valuenow", today(chart));
    chart.setAttribute("aria-valuetext", textOf(chart, pointsOf(chart)[today(chart)]));
  });
}
prepareCharts(document);
// What is swapped out of band has its focus back only if it can have it by then.
document.addEventListener("htmx:oobAfterSwap", () => prepareCharts(document));
document.addEventListener("htmx:afterSwap", () => prepareCharts(document));

for (const kind of ["pointermove", "pointerdown"]) {
  document.addEventListener(kind, (event) => {
    const chart = event.target.closest?.("[data-chart]");
    document.querySelectorAll("[data-chart]").forEach((other) => {
      if (other !== chart && other !== document.activeElement) hidePoint(other);
    });
    if (chart) showPoint(chart, pointUnder(chart, event));
  });
}
document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-chart]") && event.target.matches(":focus-visible")) {
    document.querySelectorAll("[data-chart]").forEach(hidePoint);
    showPoint(event.target, today(event.target));
  }
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches("[data-chart]")) hidePoint(event.target);
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.("[data-chart]")) return;
  const chart = event.target;
  const at = Number(chart.dataset.at ?? today(chart));
  const places = {
    ArrowLeft: at - 1,
    ArrowDown: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at + 1,
    Home: 0,
    End: Infinity,
  };
  if (event.key === "Escape") hidePoint(chart);
  if (!(event.key in places)) return;
  event.preventDefault();
  showPoint(chart, places[event.key]);
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

// Logging in again in another tab gives another token: a form sends the one that holds now, so that
// it is not lost.
document.addEventListener("submit", (event) => {
  const token = event.target.elements.csrfmiddlewaretoken;
  const cookie = document.cookie.split("; ").find((one) => one.startsWith("csrftoken="));
  if (token && cookie) token.value = cookie.split("=")[1];
}, true);

// data-edit: a form that says whether its values are saved. What it says is in data-form-said.
// data-dirty on the form: its values are not saved, though they are those that the page came with.
const edited = () => [...document.querySelectorAll("form[data-edit]")];
let isLeaving = false;

function isChanged(element) {
  if (!element.name || ["hidden", "submit", "button"].includes(element.type)) return false;
  if (["checkbox", "radio"].includes(element.type)) return element.checked !== element.defaultChecked;
  if (element.matches("select")) {
    const chosen = [...element.options].findIndex((option) => option.defaultSelected);
    return element.selectedIndex !== Math.max(chosen, 0);
  }
  return element.value !== element.defaultValue;
}

function isUnsaved(form) {
  return form.dataset.dirty !== undefined || [...form.elements].some(isChanged);
}

function sayInForm(form, text, isRefusal = false) {
  const said = form.querySelector("[data-form-said]");
  if (!said) return;
  said.textContent = text;
  said.classList.toggle("form-refused", isRefusal);
}

function edits(event) {
  const form = event.target.form || event.target.closest?.("form");
  if (!form?.matches("form[data-edit]")) return;
  sayInForm(form, isUnsaved(form) ? "Unsaved changes" : "");
}
document.addEventListener("input", edits);
document.addEventListener("change", edits);
document.addEventListener("rows-changed", edits);

// data-leave: a form or a link that means to leave what is not saved.
for (const kind of ["click", "submit"]) {
  document.addEventListener(kind, (event) => {
    if (event.target.closest(kind === "click" ? "a[data-leave]" : "form[data-leave]")) isLeaving = true;
  });
}
window.addEventListener("beforeunload", (event) => {
  if (!isLeaving && edited().some(isUnsaved)) event.preventDefault();
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.matches("form[data-edit]")) sayInForm(event.detail.elt, "Saving…");
});
// An answer that leads to another page leaves a form that is saved.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const { elt, xhr } = event.detail;
  if (elt.matches("form[data-edit]") && xhr.getResponseHeader("HX-Redirect")) isLeaving = true;
});

// data-refusal: a form was not saved. Older messages go, and the first wrong field is in view and
// has the focus; without one, what says why.
function showRefusal(root, isNew) {
  const refusal = root.querySelector?.("[data-refusal]");
  if (!refusal) return;
  if (isNew) {
    document.getElementById("messages").replaceChildren();
    silence = clearTimeout(silence) || null;
    if (!standing) hide();
  }
  const form = refusal.closest("form");
  const wrong = refusal.matches(".conflicts") ? null : form?.querySelector("[aria-invalid=true]");
  const place = wrong || refusal;
  for (let around = place.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
  place.scrollIntoView({ block: "center" });
  place.focus({ preventScroll: true });
}
document.addEventListener("htmx:afterSettle", (event) => {
  // The new content may have taken the place of the element that was swapped.
  if (event.detail.xhr?.status === 422) showRefusal(document.getElementById(event.detail.target.id) || document, true);
});

// Says something shortly, for everybody: also to screen readers.
let silence = null;
function say(text) {
  show(text);
  clearTimeout(silence);
  silence = setTimeout(() => {
    silence = null;
    if (standing) show(standing);
    else hide();
  }, 4000);
}

// Says once what holds until it is taken back with nothing: a text, or an element.
let standing = null;
function stand(said) {
  if (standing && said && standing.textContent === said.textContent) return;
  if (!standing && !said) return;
  standing = said;
  if (standing) {
    clearTimeout(silence);
    silence = null;
    show(standing);
  } else if (!silence) hide(); // Else something else is being said, which goes by itself.
}

function show(said) {
  const toast = document.getElementById("toast");
  toast.replaceChildren(said);
  toast.classList.add("toast-shown");
}
function hide() {
  document.getElementById("toast").classList.remove("toast-shown");
}

function sentence(text) {
  const said = document.createElement("span");
  said.textContent = text;
  return said;
}

function loggedOut() {
  const said = sentence("You were logged out, so nothing was saved. Your entries are still here: ");
  const link = document.createElement("a");
  link.href = "/account/login";
  link.target = "_blank";
  link.textContent = "log in again in another tab";
  said.append(link, ", then come back and repeat it.");
  return said;
}

function reason(status) {
  if (status === 0) return "The service cannot be reached; are you online?";
  if (status === 403) return "You do not have access, or this page is out of date: reload it.";
  if (status === 404) return "This no longer exists: reload the page.";
  if (status === 413) return "Too large: choose fewer or smaller files.";
  if (status === 429 || status === 503) return "The service is busy. Try again in a moment.";
  return "Something went wrong. Try again in a moment.";
}

function brief(status) {
  if (status === 0) return "no connection";
  if (status === 401) return "you are logged out";
  return "see the message below";
}

function failed(event) {
  const { elt, xhr } = event.detail;
  if (elt.dataset.refresh) {
    // Who has logged out in another tab is to see nothing here either.
    if (xhr.status === 401) location.reload();
    failures.set(elt, (failures.get(elt) || 0) + 1);
    stand(sentence("This page is not up to date. It updates when the service answers again."));
    return;
  }
  if (elt.matches("form[data-edit]")) sayInForm(elt, `Not saved: ${brief(xhr.status)}`, true);
  if (xhr.status === 401) stand(loggedOut());
  else if (!xhr.getResponseHeader("HX-Trigger")) say(reason(xhr.status)); // Else it says something itself.
}

document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:sendError", failed);
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  failures.delete(event.detail.elt);
  stand(null);
});
// A server event `say` (header HX-Trigger: {"say": "..."}) is shown likewise, unless nobody asked.
document.addEventListener("say", (event) => {
  if (!event.target.dataset.refresh) say(event.detail.value);
});

showRefusal(document, false);
