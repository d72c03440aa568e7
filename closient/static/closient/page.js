// Behavior shared by all pages, driven by data attributes. htmx does the swapping.
"use strict";

// data-refresh="15": triggers a `refresh` event on the element every 15 seconds while the tab is
// visible, and immediately when it becomes visible or online again. The interval doubles after each
// failure, up to five minutes. With data-while=".x", only while the page has such an element.
const refreshedAt = new WeakMap();
const failures = new WeakMap();
const MAX_INTERVAL_SECONDS = 300;

function intervalOf(element) {
  const every = Number(element.dataset.refresh);
  return Math.min(every * 2 ** (failures.get(element) || 0), Math.max(every, MAX_INTERVAL_SECONDS));
}

function refresh(isDue) {
  if (document.visibilityState !== "visible") return;
  document.querySelectorAll("[data-refresh]").forEach((element) => {
    if (element.dataset.while && !document.querySelector(element.dataset.while)) return;
    if (!refreshedAt.has(element)) refreshedAt.set(element, Date.now());
    const age = (Date.now() - refreshedAt.get(element)) / 1000;
    if (!isDue(age, intervalOf(element))) return;
    refreshedAt.set(element, Date.now());
    htmx.trigger(element, "refresh");
  });
}

setInterval(() => refresh((age, interval) => age >= interval), 1000);
document.addEventListener("visibilitychange", () => refresh(() => true));
window.addEventListener("online", () => refresh(() => true));

// data-patch="event": the response does not replace this element. Only texts of parts with data-live
// that differ are updated, by id, so focus, selection and scroll position stay. A part with a label
// (data-live="Broken offers") is highlighted and announced to screen readers in #changes; if there
// is one, the event is triggered on the body for elements that depend on it.
document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  if (!target.dataset.patch || !event.detail.shouldSwap) return;
  event.detail.shouldSwap = false;
  const fresh = new DOMParser().parseFromString(event.detail.serverResponse, "text/html");
  const announced = [];
  fresh.querySelectorAll("[data-live]").forEach((part) => {
    const shown = document.getElementById(part.id);
    if (!shown || shown.textContent === part.textContent) return;
    shown.textContent = part.textContent;
    if (!part.dataset.live) return;
    announced.push(`${part.dataset.live}: ${part.textContent}`);
    shown.classList.add("changed");
    setTimeout(() => shown.classList.remove("changed"), 3000);
  });
  if (announced.length === 0) return;
  document.getElementById("changes").textContent = announced.join(", ");
  htmx.trigger(document.body, target.dataset.patch);
});

// data-chart="Broken offers": a line chart that shows one value at a time: the one under the pointer
// or finger, or chosen with the arrow keys. Points are day:value, with days relative to today.
// Without this script, the history page lists all values.
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

function showPoint(chart, index) {
  const points = pointsOf(chart);
  const at = Math.min(Math.max(index, 0), points.length - 1);
  const { first, last } = chart.dataset;
  const x = Math.round((300 * (points[at][0] - first)) / (last - first));
  chart.dataset.at = at;
  chart.querySelector(".trend-mark").setAttribute("d", `M${x} 0V100`);
  chart.setAttribute("aria-valuenow", at);
  chart.setAttribute("aria-valuetext", textOf(chart, points[at]));
  const label = chart.parentElement.querySelector(".trend-point");
  label.textContent = textOf(chart, points[at]);
  label.hidden = false;
}

function hidePoint(chart) {
  chart.querySelector(".trend-mark").removeAttribute("d");
  chart.parentElement.querySelector(".trend-point").hidden = true;
}

function pointUnder(chart, event) {
  const box = chart.getBoundingClientRect();
  const { first, last } = chart.dataset;
  const day = Number(first) + ((event.clientX - box.left) / box.width) * (last - first);
  const distances = pointsOf(chart).map(([pointDay]) => Math.abs(pointDay - day));
  return distances.indexOf(Math.min(...distances));
}

function todayIndex(chart) {
  return pointsOf(chart).findIndex(([day]) => day === 0);
}

function prepareCharts(root) {
  root.querySelectorAll("[data-chart]").forEach((chart) => {
    chart.tabIndex = 0;
    chart.setAttribute("role", "slider");
    chart.setAttribute("aria-label", `${chart.dataset.chart} by day`);
    chart.setAttribute("aria-valuemin", 0);
    chart.setAttribute("aria-valuemax", pointsOf(chart).length - 1);
    chart.setAttribute("aria-valuenow", todayIndex(chart));
    chart.setAttribute("aria-valuetext", textOf(chart, pointsOf(chart)[todayIndex(chart)]));
  });
}
prepareCharts(document);
// htmx restores the focus of out-of-band swaps only if the new element is focusable by then.
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
    showPoint(event.target, todayIndex(event.target));
  }
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches("[data-chart]")) hidePoint(event.target);
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.("[data-chart]")) return;
  const chart = event.target;
  const at = Number(chart.dataset.at ?? todayIndex(chart));
  const targets = {
    ArrowLeft: at - 1,
    ArrowDown: at - 1,
    ArrowRight: at + 1,
    ArrowUp: at + 1,
    Home: 0,
    End: Infinity,
  };
  if (event.key === "Escape") hidePoint(chart);
  if (!(event.key in targets)) return;
  event.preventDefault();
  showPoint(chart, targets[event.key]);
});

// Scrolls the current page into view if the navigation is wider than the screen.
document.querySelector(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// data-copy="#id": copies the text of another element to the clipboard.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  await navigator.clipboard.writeText(source.textContent.trim());
  say("Copied.");
});

// data-submit: submits its form when the value changes.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// data-select-all: checks all row boxes of its form. A bar with data-selection is visible while at
// least one is checked, with their number in data-selected.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form || event.target.type !== "checkbox") return;
  const boxes = [...form.elements].filter((element) => element.matches("input[data-row]"));
  if (event.target.matches("[data-select-all]")) {
    boxes.forEach((box) => { box.checked = event.target.checked; });
  }
  showSelection(form, boxes);
});
// A swapped row is not checked.
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

// Menus close on a click outside, on a link in them (a download leaves the page open), and on Escape.
document.addEventListener("click", (event) => {
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target) || event.target.closest(".menu-items a")) menu.open = false;
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    menu.open = false;
    menu.querySelector("summary").focus();
  });
});

// A login in another tab changes the CSRF token: forms submit the current one from the cookie.
document.addEventListener("submit", (event) => {
  const token = event.target.elements.csrfmiddlewaretoken;
  const cookie = document.cookie.split("; ").find((one) => one.startsWith("csrftoken="));
  if (token && cookie) token.value = cookie.split("=")[1];
}, true);

// data-edit: a form that shows in data-form-status whether its values are saved.
// data-dirty: the initial values of the form are not saved (a rejected form).
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

function setFormStatus(form, text, isRejection = false) {
  const status = form.querySelector("[data-form-status]");
  if (!status) return;
  status.textContent = text;
  status.classList.toggle("form-rejected", isRejection);
}

function showUnsaved(event) {
  const form = event.target.form || event.target.closest?.("form");
  if (!form?.matches("form[data-edit]")) return;
  setFormStatus(form, isUnsaved(form) ? "Unsaved changes" : "");
}
document.addEventListener("input", showUnsaved);
document.addEventListener("change", showUnsaved);
document.addEventListener("rows-changed", showUnsaved);

// data-leave: a form or link that discards unsaved changes without a warning. A form that is sent by
// leaving its page saves them.
const LEAVING = { click: "a[data-leave]", submit: "form[data-leave], form[data-edit]:not([hx-post])" };
for (const [kind, selector] of Object.entries(LEAVING)) {
  document.addEventListener(kind, (event) => {
    if (event.target.closest(selector)) isLeaving = true;
  });
}
window.addEventListener("beforeunload", (event) => {
  if (!isLeaving && edited().some(isUnsaved)) event.preventDefault();
});
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.matches("form[data-edit]")) setFormStatus(event.detail.elt, "Saving…");
});
// A redirect means that the form is saved.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const { elt, xhr } = event.detail;
  if (elt.matches("form[data-edit]") && xhr.getResponseHeader("HX-Redirect")) isLeaving = true;
});

// data-rejection: a form was not saved. Removes older messages, then scrolls to and focuses the first
// invalid field, or the error message if there is none.
function showRejection(root, isNew) {
  const rejection = root.querySelector?.("[data-rejection]");
  if (!rejection) return;
  if (isNew) {
    document.getElementById("messages").replaceChildren();
    silence = clearTimeout(silence) || null;
    if (!notice) hide();
  }
  const form = rejection.closest("form");
  const wrong = rejection.matches(".conflicts") ? null : form?.querySelector("[aria-invalid=true]");
  const target = wrong || rejection;
  for (let parent = target.closest("details"); parent; parent = parent.parentElement.closest("details")) parent.open = true;
  target.scrollIntoView({ block: "center" });
  target.focus({ preventScroll: true });
}
document.addEventListener("htmx:afterSettle", (event) => {
  // The swap may have replaced the target element.
  if (event.detail.xhr?.status === 422) showRejection(document.getElementById(event.detail.target.id) || document, true);
});

// Shows a message in the toast for four seconds; screen readers announce it.
let silence = null;
function say(text) {
  show(text);
  clearTimeout(silence);
  silence = setTimeout(() => {
    silence = null;
    if (notice) show(notice);
    else hide();
  }, 4000);
}

// Shows an element in the toast until it is replaced or removed with null.
let notice = null;
function setNotice(element) {
  if (notice && element && notice.textContent === element.textContent) return;
  if (!notice && !element) return;
  notice = element;
  if (notice) {
    clearTimeout(silence);
    silence = null;
    show(notice);
  } else if (!silence) hide(); // Otherwise a message is visible and hides by itself.
}

function show(content) {
  const toast = document.getElementById("toast");
  toast.replaceChildren(content);
  toast.classList.add("toast-shown");
}
function hide() {
  document.getElementById("toast").classList.remove("toast-shown");
}

function textSpan(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}

function loggedOutNotice() {
  const span = textSpan("You were logged out, so nothing was saved. Your entries are still here: ");
  const link = document.createElement("a");
  link.href = "/account/login";
  link.target = "_blank";
  link.textContent = "log in again in another tab";
  span.append(link, ", then come back and try again.");
  return span;
}

function reason(status) {
  if (status === 0) return "No connection. Check your network and try again.";
  if (status === 403) return "You do not have access, or this page is out of date. Reload it.";
  if (status === 404) return "This no longer exists. Reload the page.";
  if (status === 413) return "Too large. Choose fewer or smaller files.";
  if (status === 429 || status === 503) return "The service is busy. Try again in a moment.";
  return "Something went wrong. Try again in a moment.";
}

function shortReason(status) {
  if (status === 0) return "no connection";
  if (status === 401) return "you are logged out";
  return "see the message below";
}

function failed(event) {
  const { elt, xhr } = event.detail;
  if (elt.dataset.refresh) {
    // After a logout in another tab, this one must not show data either.
    if (xhr.status === 401) location.reload();
    failures.set(elt, (failures.get(elt) || 0) + 1);
    setNotice(textSpan("This page is not up to date. It updates when the connection is back."));
    return;
  }
  if (elt.matches("form[data-edit]")) setFormStatus(elt, `Not saved: ${shortReason(xhr.status)}`, true);
  if (xhr.status === 401) setNotice(loggedOutNotice());
  else if (!xhr.getResponseHeader("HX-Trigger")) say(reason(xhr.status)); // Otherwise the response has a message.
}

document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:sendError", failed);
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  failures.delete(event.detail.elt);
  setNotice(null);
});
// The event `say` (header HX-Trigger: {"say": "..."}) shows a message, except for polling.
document.addEventListener("say", (event) => {
  if (!event.target.dataset.refresh) say(event.detail.value);
});

showRejection(document, false);
