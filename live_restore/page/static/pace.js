// How often this page does what takes a processor.

/** Whether what is drawn here takes from what restores: the processor of this computer. */
export function restoringHere(told) {
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return here && Boolean(told?.watched) && told.backlog > 0 && /cpu/i.test(told.device);
}

const shownAt = new Map();
const timers = new Map();

/** Does something: at once, or as long after the last time as it may be done again. */
export function atMostEvery(ms, work) {
  if (timers.has(work)) return;
  const wait = (shownAt.get(work) ?? -Infinity) + ms - performance.now();
  timers.set(work, setTimeout(() => {
    timers.delete(work);
    shownAt.set(work, performance.now());
    work();
  }, Math.max(0, wait)));
}
