"use strict";

// Tables: a click on a heading sorts by it, best first; another click turns the order round. Dashes stay last.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const body = head.closest("table").tBodies[0];
    const now = head.getAttribute("aria-sort");
    const descending = now ? now === "ascending" : "descending" in head.dataset;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const sign = descending ? -1 : 1;
    const number = (row) => Number(row.cells[head.cellIndex].dataset.value.replace("inf", "Infinity"));
    const missing = (row) => row.cells[head.cellIndex].dataset.value === "";
    const name = (row) => row.cells[0].textContent;
    const compare = head.cellIndex === 0
      ? (a, b) => sign * name(a).localeCompare(name(b), undefined, { numeric: true })
      : (a, b) => missing(a) - missing(b) || sign * (number(a) - number(b) || 0);
    body.append(...[...body.rows].sort(compare));
  });
}

// Pictures: a click enlarges; the arrows show the other pictures of the comparison in the same place.
const dialog = document.querySelector("dialog");
const stage = dialog.querySelector(".stage");
let shown = [];
let at = 0;

function show(index) {
  at = (index + shown.length) % shown.length;
  stage.replaceChildren(shown[at].cloneNode(true));
  dialog.querySelector(".bar span").textContent = shown[at].title;
}

function siblings(frame) {
  const figures = [...frame.closest(".panels").children];
  const place = [...frame.closest("figure").querySelectorAll(".frame")].indexOf(frame);
  return figures.map((figure) => figure.querySelectorAll(".frame")[place]);
}

for (const frame of document.querySelectorAll(".frame")) {
  frame.addEventListener("click", () => {
    shown = siblings(frame);
    dialog.showModal();
    show(shown.indexOf(frame));
  });
}
stage.addEventListener("click", () => dialog.close());
for (const button of dialog.querySelectorAll("button")) {
  button.addEventListener("click", () => (Number(button.value) ? show(at + Number(button.value)) : dialog.close()));
}
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") show(at - 1);
  if (event.key === "ArrowRight") show(at + 1);
});
