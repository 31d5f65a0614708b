"use strict";

// Tables: a click on a heading sorts by it, a second click the other way round. Empty cells stay last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const key = (row) => row.cells[column].dataset.sort;
      const rows = [...body.rows];
      const numeric = rows.every((row) => !Number.isNaN(Number(key(row))));
      const before = heading.getAttribute("aria-sort");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const order = before === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      const compare = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b));
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * compare(x, y);
      });
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      body.append(...rows);
    });
  });
}

// Plots: what is pointed at, in any plot of a part, stands out in all of them.
for (const plots of document.querySelectorAll(".plots")) {
  const method = (series) => [...series.classList].find((name) => /^m\d+$/.test(name));
  plots.addEventListener("pointerover", (event) => {
    const series = event.target.closest(".series");
    plots.classList.toggle("pointing", Boolean(series));
    for (const other of plots.querySelectorAll(".series")) {
      other.classList.toggle("pointed", Boolean(series) && method(other) === method(series));
    }
  });
  plots.addEventListener("pointerleave", () => plots.classList.remove("pointing"));
}
