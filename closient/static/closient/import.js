// The upload form of the import page: drag and drop, size check before the upload, progress.
"use strict";

const form = () => document.getElementById("import-form");
const input = () => document.getElementById("import-file");

function reject(sentence) {
  document.getElementById("import-error").textContent = sentence;
  input().setAttribute("aria-invalid", sentence ? "true" : "false");
}

function isTooLarge() {
  const [file] = input().files;
  return Boolean(file) && file.size > Number(form().dataset.largest);
}

document.addEventListener("change", (event) => {
  if (event.target !== input()) return;
  reject(isTooLarge() ? document.getElementById("import-error").dataset.tooLarge : "");
});

// The whole page is a drop target: otherwise a drop outside the frame would open the file.
const carriesFiles = (event) => event.dataTransfer && event.dataTransfer.types.includes("Files");
const highlight = (isOver) => form().querySelector("[data-drop]").classList.toggle("drop-over", isOver);
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  highlight(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) highlight(false);
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  highlight(false);
  if (event.dataTransfer.files.length !== 1) {
    reject("Drop one file at a time.");
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
  form().querySelector("[data-sent]").textContent = percent < 100 ? `${percent}% uploaded` : "Uploaded. One moment…";
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt === form() && !event.detail.successful) form().querySelector("[data-sending]").hidden = true;
});
