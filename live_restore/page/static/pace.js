// How often this page does what takes a processor.

/** Whether what is drawn here takes from what restores: the processor of this computer. */
export function restoringHere(told) {
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return here && Boolean(told?.watched) && told.backlog > 0 && /cpu/i.test(told.device);
}

const doneAt = new Map();
const pending = new Map(); // by what is done: {due, timer}

/** Does something: at once, or as long after the last time as it may be done again. */
export function atMostEvery(ms, work) {
  const due = (doneAt.get(work) ?? -Infinity) + ms;
  const waiting = pending.get(work);
  if (waiting && waiting.due <= due) return; // else it may be done sooner by now
  clearTimeout(waiting?.timer);
  const timer = setTimeout(() => {
    pending.delete(work);
    doneAt.set(work, performance.now());
    work();
  }, Math.max(0, due - performance.now()));
  pending.set(work, { due, timer });
}
