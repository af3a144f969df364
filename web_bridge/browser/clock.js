// Beats from a worker: browsers slow the timers of hidden pages down to one a minute.

self.onmessage = ({ data }) => {
  setInterval(() => self.postMessage(null), data.seconds * 1_000);
};
