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

let dragged = null;

// data-upload-drop="#input": files dropped on this element are uploaded at once, by the form of the
// file input. Anywhere else on the page a dropped file would replace the page.
// A dragged picture of the page carries a file too.
const carriesFiles = (event) => !dragged && event.dataTransfer && event.dataTransfer.types.includes("Files");
const dropZone = (event) => event.target.closest && event.target.closest("[data-upload-drop]");

function highlightDropZone(zone) {
  document.querySelectorAll("[data-upload-drop]").forEach((each) => each.classList.toggle("drop-over", each === zone));
}

document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  const zone = dropZone(event);
  event.dataTransfer.dropEffect = zone ? "copy" : "none";
  highlightDropZone(zone);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) highlightDropZone(null);
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  highlightDropZone(null);
  const zone = dropZone(event);
  if (!zone) return;
  const input = document.querySelector(zone.dataset.uploadDrop);
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  input.form.requestSubmit();
});

// data-sortable="#form": the items of this list can be dragged by their parts with data-drag. The form, with an input for each
// item, is submitted with the new order. Where it cannot be dragged, as on a touch screen, the
// buttons of the items do the same.
function showSortable(root) {
  root.querySelectorAll("[data-sortable] [data-drag]").forEach((handle) => { handle.draggable = true; });
  root.querySelectorAll("[data-sortable-help], [data-with-script]").forEach((element) => { element.hidden = false; });
  root.querySelectorAll("[data-without-script]").forEach((element) => { element.hidden = true; });
}

document.addEventListener("dragstart", (event) => {
  const item = event.target.closest && event.target.closest("[data-sortable] > *");
  if (!item) return;
  // A picture or link in it would be dragged as a file or an address otherwise.
  event.dataTransfer.clearData();
  event.dataTransfer.setData("text/plain", item.dataset.image);
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setDragImage(item, 20, 20);
  dragged = { item, list: item.parentElement, next: item.nextElementSibling, isDropped: false };
  item.classList.add("dragged");
});
document.addEventListener("dragover", (event) => {
  if (!dragged) return;
  const over = event.target.closest && event.target.closest("[data-sortable] > *");
  if (!dragged.list.contains(event.target)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "move";
  if (!over || over === dragged.item) return;
  const items = [...dragged.list.children];
  const isLater = items.indexOf(over) > items.indexOf(dragged.item);
  if (isLater) over.after(dragged.item);
  else over.before(dragged.item);
});
document.addEventListener("drop", (event) => {
  if (!dragged || !dragged.list.contains(event.target)) return;
  event.preventDefault();
  dragged.isDropped = true;
});
document.addEventListener("dragend", () => {
  if (!dragged) return;
  const { item, list, next, isDropped } = dragged;
  dragged = null;
  item.classList.remove("dragged");
  if (!isDropped) {
    list.insertBefore(item, next);
    return;
  }
  const order = document.querySelector(list.dataset.sortable);
  const inputs = [...order.querySelectorAll("[name=image]")];
  const keys = [...list.children].map((each) => each.dataset.image);
  if (inputs.every((input, index) => input.value === keys[index])) return;
  inputs.forEach((input, index) => { input.value = keys[index]; });
  order.requestSubmit();
});

document.addEventListener("htmx:xhr:progress", (event) => {
  const bar = event.target.querySelector && event.target.querySelector("[data-upload]");
  if (!bar || !event.detail.lengthComputable) return;
  bar.hidden = false;
  bar.value = (100 * event.detail.loaded) / event.detail.total;
});

function showScripted(root) {
  showRowButtons(root);
  showSortable(root);
}

document.addEventListener("htmx:load", (event) => showScripted(event.detail.elt.parentElement || document));
showScripted(document);
