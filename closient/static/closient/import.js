// The form of the import page: dropping a file, its size before it is sent, and how far it is.
"use strict";

const form = () => document.getElementById("import-form");
const input = () => document.getElementById("import-file");

function refuse(sentence) {
  document.getElementById("import-refusal").textContent = sentence;
  input().setAttribute("aria-invalid", sentence ? "true" : "false");
}

function isTooLarge() {
  const [file] = input().files;
  return Boolean(file) && file.size > Number(form().dataset.largest);
}

document.addEventListener("change", (event) => {
  if (event.target !== input()) return;
  refuse(isTooLarge() ? document.getElementById("import-refusal").dataset.tooLarge : "");
});

// The whole page takes the file, or a drop beside the frame would leave the page for the file.
const carriesFiles = (event) => event.dataTransfer && event.dataTransfer.types.includes("Files");
const mark = (isOver) => form().querySelector("[data-drop]").classList.toggle("drop-over", isOver);
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  mark(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) mark(false);
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  mark(false);
  if (event.dataTransfer.files.length !== 1) {
    refuse("Drop one file at a time.");
    return;
  }
  input().files = event.dataTransfer.files;
  input().dispatchEvent(new Event("change", { bubbles: true }));
});

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt !== form()) return;
  if (isTooLarge()) {
    event.preventDefault();
    return;
  }
  form().querySelector("[data-sending]").hidden = false;
});
document.addEventListener("htmx:xhr:progress", (event) => {
  if (event.detail.elt !== form() || !event.detail.lengthComputable) return;
  const percent = Math.round((100 * event.detail.loaded) / event.detail.total);
  form().querySelector("[data-sending] progress").value = percent;
  form().querySelector("[data-sent]").textContent = percent < 100 ? `${percent} % sent` : "Sent; one moment…";
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt === form() && !event.detail.successful) form().querySelector("[data-sending]").hidden = true;
});
