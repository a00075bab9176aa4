// What Node gives every script and this engine does not: console and timers. Only console.log and its kin reach
// the program's output. This text is compiled for every run; what few need (rest.js) is compiled when it is first used.
(function (global, write, load) {
  'use strict';
  let rest;
  const full = () => rest ??= load()();
  const log = (...values) => {
    const [text] = values.length === 1 && typeof values[0] === 'string' ? values : [full().show(values)];
    write(text.toWellFormed() + '\n');
  };
  const ignore = () => {};
  global.console = { log, info: log, debug: log };
  for (const name of ['error', 'warn', 'trace', 'assert', 'clear', 'count', 'countReset', 'dir', 'group',
    'groupCollapsed', 'groupEnd', 'table', 'time', 'timeEnd', 'timeLog']) {
    global.console[name] = ignore;
  }
  const define = Object.defineProperty;
  const shown = { enumerable: true, configurable: true };
  for (const name of ['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate']) {
    const set = (value) => { define(global, name, { ...shown, writable: true, value }); };
    define(global, name, { ...shown, get: () => (set(full()[name]), full()[name]), set });
  }
  global.queueMicrotask ??= (callback) => { Promise.resolve().then(callback); };
  global.global = global;
  // Fires the timer that is due first; false when there is none.
  return () => rest !== undefined && rest.fire();
})
