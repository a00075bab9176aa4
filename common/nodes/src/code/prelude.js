// What Node gives every script and this engine does not: console and timers. Only console.log and
// its kin reach the program's output. Timers fire in order without waiting for their time.
(function (global, write) {
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
  const print = (...values) => write(values.map(show).join(' ').toWellFormed() + '\n');
  const ignore = () => {};
  global.console = { log: print, info: print, debug: print, error: ignore, warn: ignore, trace: ignore };
  for (const name of ['assert', 'clear', 'count', 'countReset', 'dir', 'group', 'groupCollapsed', 'groupEnd',
    'table', 'time', 'timeEnd', 'timeLog']) {
    global.console[name] = ignore;
  }
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
  global.setTimeout = (callback, delay, ...values) => add(callback, delay, values, false);
  global.setInterval = (callback, delay, ...values) => add(callback, delay, values, true);
  global.setImmediate = (callback, ...values) => add(callback, 0, values, false);
  global.clearTimeout = global.clearInterval = global.clearImmediate = remove;
  global.queueMicrotask ??= (callback) => { Promise.resolve().then(callback); };
  global.global = global;
  // Fires the timer that is due first; false when there is none.
  return () => {
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
  };
})
