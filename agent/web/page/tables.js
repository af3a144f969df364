// Figures and tables. Everything is set as text: what comes over the bus is never markup.

/** @typedef {string | number | null | undefined} Cell */

/** @param {string} id */
export const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {number | null | undefined} share */
export const percent = (share) =>
  share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;

/** @param {string} time */
export const clock = (time) => new Date(time).toLocaleTimeString();

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/**
 * Fill a table, whose head says which columns hold numbers.
 * @param {string} id
 * @param {Cell[][]} rows
 */
export function fill(id, rows) {
  const heads = [...element(id).querySelectorAll("th")];
  const body = /** @type {HTMLElement} */ (element(id).querySelector("tbody"));
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...row.map((value, at) => {
      const cell = document.createElement("td");
      cell.textContent = typeof value === "number" ? whole.format(value) : (value ?? "–");
      cell.className = heads[at].className;
      return cell;
    }));
    return line;
  });
  if (!lines.length) {
    const [line, cell] = [document.createElement("tr"), document.createElement("td")];
    line.className = "empty";
    cell.textContent = "none yet";
    cell.colSpan = heads.length;
    line.append(cell);
    lines.push(line);
  }
  body.replaceChildren(...lines);
}

/** @param {Record<string, Cell>} figures */
export function figures(figures) {
  element("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => {
    const tile = document.createElement("li");
    const [number, label] = [document.createElement("strong"), document.createElement("span")];
    number.textContent = typeof value === "number" ? whole.format(value) : (value ?? "–");
    label.textContent = name;
    tile.append(number, label);
    return tile;
  }));
}
