// Predictions held against measurements, as two charts.

/**
 * @typedef {object} Validation
 * @property {string} metric
 * @property {string} model
 * @property {string} hardware
 * @property {number} predicted
 * @property {number} low
 * @property {number} high
 * @property {number} measured
 * @property {number} absolute_percentage_error
 * @property {boolean} within_interval
 */
/** @typedef {{time: number, one: Validation}} Held */

// Not written out in `import(…)`: its own types are checked, not the minified file.
const LIBRARY = "./vendor/echarts.esm.min.mjs";
const KEPT = 600;
const ROLLING = 20;

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** @param {Held} held */
const point = ({ one }) => ({
  value: [one.predicted, one.measured],
  name: `${one.model} on ${one.hardware}`,
});

/** What was validated, metric by metric. */
export class Validations {
  /** @type {Map<string, Held[]>} */
  #held = new Map();

  /**
   * @param {number} time
   * @param {Validation} one
   */
  add(time, one) {
    const held = this.#held.get(one.metric) ?? [];
    held.push({ time, one });
    if (held.length > KEPT) held.shift();
    this.#held.set(one.metric, held);
  }

  metrics() {
    return [...this.#held.keys()].sort();
  }

  /** @param {string} metric */
  of(metric) {
    return this.#held.get(metric) ?? [];
  }
}

/**
 * Return a function that draws the validations of a metric.
 * @param {HTMLElement} pairs
 * @param {HTMLElement} errors
 */
export async function charts(pairs, errors) {
  const echarts = /** @type {typeof import("echarts")} */ (await import(LIBRARY));
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : undefined;
  const drawn = [pairs, errors].map((place) => echarts.init(place, theme));
  addEventListener("resize", () => drawn.forEach((chart) => chart.resize()));
  const common = {
    animation: false,
    backgroundColor: "transparent",
    grid: { left: 70, right: 60, top: 40, bottom: 50 },
    legend: { top: 0 },
  };

  /** @param {Held[]} held */
  function drawPairs(held) {
    const values = held.flatMap(({ one }) => [one.predicted, one.measured]);
    const ends = [Math.min(...values), Math.max(...values)];
    drawn[0].setOption({
      ...common,
      tooltip: {},
      xAxis: { type: "log", name: "predicted", nameLocation: "middle", nameGap: 30 },
      yAxis: { type: "log", name: "measured" },
      series: [
        {
          name: "in its interval", type: "scatter", symbolSize: 6,
          data: held.filter(({ one }) => one.within_interval).map(point),
        },
        {
          name: "outside", type: "scatter", symbolSize: 8, symbol: "diamond",
          data: held.filter(({ one }) => !one.within_interval).map(point),
        },
        {
          name: "equal", type: "line", symbol: "none", data: ends.map((end) => [end, end]),
          lineStyle: { type: "dashed", width: 1 },
        },
      ],
    });
  }

  /** @param {Held[]} held */
  function drawErrors(held) {
    const windows = held.map((_, at) => held.slice(Math.max(0, at + 1 - ROLLING), at + 1));
    /** @param {(held: Held[]) => number} of */
    const line = (of) => windows.map(of);
    drawn[1].setOption({
      ...common,
      tooltip: { trigger: "axis", valueFormatter: (/** @type {number} */ share) =>
        `${(100 * share).toFixed(1)} %` },
      xAxis: {
        type: "category",
        data: held.map(({ time }) => new Date(time).toLocaleTimeString()),
      },
      yAxis: [
        { type: "value", name: "error", min: 0, axisLabel: { formatter: asPercent } },
        { type: "value", name: "in interval", min: 0, max: 1, axisLabel: { formatter: asPercent } },
      ],
      series: [
        {
          name: "median error", type: "line", symbol: "none",
          data: line((some) => median(some.map(({ one }) => one.absolute_percentage_error))),
        },
        {
          name: "in interval", type: "line", symbol: "none", yAxisIndex: 1,
          data: line((some) => some.filter(({ one }) => one.within_interval).length / some.length),
        },
      ],
    });
  }

  return (/** @type {Held[]} */ held) => {
    if (held.length) {
      drawPairs(held);
      drawErrors(held);
    }
  };
}

/** @param {number} share */
const asPercent = (share) => `${Math.round(100 * share)} %`;
