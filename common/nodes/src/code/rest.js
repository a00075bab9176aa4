// The parts of console and timers that are compiled only when a program uses them. Timers fire in order without
// waiting for their time.
(function () {
  'use strict';
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value === null || typeof value !== 'object') {
      return typeof value === 'bigint' ? `${value}n` : Object.is(value, -0) ? '-0' : String(value);
    }
    if (value instanceof Error) return String(value.stack ? `${value}\n${value.stack}` : value);
    try {
      return JSON.stringify(value);
    } catch {
      return String(value);
    }
  };
  const timers = new Map();
  let last = 0;
  let now = 0;
  const add = (callback, delay, values, repeat) => {
    if (typeof callback !== 'function') throw new TypeError('The "callback" argument must be of type function.');
    const wait = delay >= 1 && delay <= 2147483647 ? Math.trunc(delay) : 1;
    timers.set(++last, { callback, values, due: now + wait, wait: repeat ? wait : 0 });
    return last;
  };
  const remove = (timer) => { timers.delete(Number(timer)); };
  return {
    show: (values) => values.map(show).join(' ').toWellFormed(),
    setTimeout: (callback, delay, ...values) => add(callback, delay, values, false),
    setInterval: (callback, delay, ...values) => add(callback, delay, values, true),
    setImmediate: (callback, ...values) => add(callback, 0, values, false),
    clearTimeout: remove,
    clearInterval: remove,
    clearImmediate: remove,
    fire: () => {
      let next;
      for (const [id, timer] of timers) {
        if (next === undefined || timer.due < timers.get(next).due) next = id;
      }
      if (next === undefined) return false;
      const timer = timers.get(next);
      now = timer.due;
      if (timer.wait) timer.due = now + timer.wait;
      else timers.delete(next);
      timer.callback(...timer.values);
      return true;
    },
  };
})
