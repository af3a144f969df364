// Values of an output at evenly spread positions, so that it can be compared without sending it all.

/** @typedef {import("../../schemas/generated/browser.d.ts").OutputSample} OutputSample */

/**
 * @param {string} name
 * @param {readonly number[]} dims
 * @param {ArrayLike<number | bigint>} data
 * @param {number} most how many values to show
 * @returns {OutputSample}
 */
export function sample(name, dims, data, most) {
  const size = data.length;
  const count = Math.min(size, most);
  let finite = true;
  for (let i = 0; i < size && finite; i += 1) finite = Number.isFinite(Number(data[i]));
  const values = [];
  for (let i = 0; i < count; i += 1) {
    const value = Number(data[Math.floor((i * size) / count)]);
    values.push(Number.isFinite(value) ? value : 0); // JSON has no other numbers
  }
  return { name, shape: [...dims], finite, values };
}
