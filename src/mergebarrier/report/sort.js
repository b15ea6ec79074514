// Tables sort by a press on a head: numbers as numbers, a pair by its worse half, cells without a value last.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  if (!body || body.rows.length < 3) continue;
  const number = text => /^[-+]?\d/.test(text) ? parseFloat(text.replace(/,/g, "")) : NaN;
  const value = (row, column) => {
    const cell = row.cells[column], halves = [...cell.querySelectorAll(".pair b")].map(b => number(b.textContent));
    const text = cell.textContent.trim();
    return { text: text === "·" ? "" : text, number: halves.length ? Math.min(...halves) : number(text) };
  };
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      const rows = [...body.rows].map(row => [value(row, column), row]);
      const numeric = rows.every(([one]) => !one.text || !isNaN(one.number));
      const order = (a, b) => numeric ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });
      rows.sort(([a], [b]) => !a.text - !b.text || (a.text ? (falling ? -order(a, b) : order(a, b)) : 0));
      body.append(...rows.map(([, row]) => row));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      table.classList.add("sorted");
    });
  });
}
