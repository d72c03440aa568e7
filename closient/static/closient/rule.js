// The rule editor: keeps each slider and its number field in sync, and marks invalid fields.
"use strict";

document.addEventListener("input", (event) => {
  const moved = event.target;
  if (moved.dataset.slides) {
    document.getElementById(moved.dataset.slides).value = moved.value;
    return;
  }
  const slider = document.querySelector(`[data-slides="${CSS.escape(moved.id)}"]`);
  if (slider) slider.value = moved.value;
});

document.addEventListener("htmx:afterSettle", () => {
  document.querySelectorAll("#rule-fields .weight").forEach((weight) => {
    const isWrong = weight.querySelector(".errorlist") !== null;
    weight.querySelector("input[type=number]").setAttribute("aria-invalid", String(isWrong));
  });
});
