// The product page: rows to add and remove, image previews, links that focus a field.
"use strict";

// data-rows: a list of rows (data-row-of) with buttons to add and remove one. Without this script
// there is only an empty row at the end.
function showRowButtons(root) {
  root.querySelectorAll("[data-row-add], [data-row-remove]").forEach((button) => { button.hidden = false; });
}

document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-row-add]");
  if (add) {
    const rows = add.closest("[data-rows]").querySelectorAll("[data-row-of]");
    const last = rows[rows.length - 1];
    const row = last.cloneNode(true);
    row.querySelectorAll("input").forEach((input) => {
      input.setAttribute("value", "");
      input.value = "";
      input.removeAttribute("id");
      input.removeAttribute("data-focus-first");
      input.removeAttribute("aria-invalid");
    });
    row.querySelectorAll(".errorlist").forEach((element) => element.remove());
    last.after(row);
    row.querySelector("input").focus();
  }
  const remove = event.target.closest("[data-row-remove]");
  if (remove) {
    const row = remove.closest("[data-row-of]");
    const next = row.nextElementSibling.querySelector("input") || row.nextElementSibling;
    const others = row.closest("[data-rows]").querySelectorAll("[data-row-of]").length > 1;
    row.closest("form").dataset.dirty = "";
    if (others) row.remove();
    else row.querySelectorAll("input").forEach((input) => { input.value = ""; });
    next.focus();
    next.dispatchEvent(new Event("rows-changed", { bubbles: true }));
  }
});

// data-focus: a link to an element on the page that also moves the focus there, or to the element
// in it that is marked with data-focus-first.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-focus]");
  if (!link) return;
  const linked = document.querySelector(link.getAttribute("href"));
  if (!linked) return;
  const target = linked.querySelector("[data-focus-first]") || linked;
  event.preventDefault();
  target.scrollIntoView({ block: "center" });
  if (!target.matches("input, select, textarea")) target.tabIndex = -1;
  target.focus({ preventScroll: true });
});

// data-preview="#list": previews the selected images and marks files that are too large to upload.
document.addEventListener("change", (event) => {
  const input = event.target;
  if (!input.matches("[data-preview]")) return;
  const list = document.querySelector(input.dataset.preview);
  list.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  list.replaceChildren(...[...input.files].map((file) => preview(file, Number(input.dataset.maxBytes))));
  list.hidden = input.files.length === 0;
});

function preview(file, maxBytes) {
  const item = document.createElement("li");
  item.className = "shot";
  const frame = document.createElement("div");
  frame.className = "shot-frame";
  const image = document.createElement("img");
  image.alt = `Preview of ${file.name}`;
  image.addEventListener("error", () => { frame.textContent = "No preview"; });
  image.src = URL.createObjectURL(file);
  frame.append(image);
  const name = document.createElement("p");
  name.className = "small shot-title";
  name.textContent = file.size > maxBytes ? `${file.name}: too large to upload` : file.name;
  item.append(frame, name);
  return item;
}

document.addEventListener("htmx:xhr:progress", (event) => {
  const bar = event.target.querySelector && event.target.querySelector("[data-upload]");
  if (!bar || !event.detail.lengthComputable) return;
  bar.hidden = false;
  bar.value = (100 * event.detail.loaded) / event.detail.total;
});

document.addEventListener("htmx:load", (event) => showRowButtons(event.detail.elt.parentElement || document));
showRowButtons(document);
