//! What Node gives every script and the engine does not: console and timers. Only `console.log` and
//! its kin reach the program's output. What few programs need is in `rest.js` and is compiled when
//! it is first used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rquickjs::function::Rest;
use rquickjs::{Ctx, Exception, Function, Object, Persistent, Value};

const REST: &str = include_str!("rest.js");

const PRINTING: [&str; 3] = ["log", "info", "debug"];

const SILENT: [&str; 15] = [
    "error",
    "warn",
    "trace",
    "assert",
    "clear",
    "count",
    "countReset",
    "dir",
    "group",
    "groupCollapsed",
    "groupEnd",
    "table",
    "time",
    "timeEnd",
    "timeLog",
];

const TIMERS: [&str; 6] = [
    "setTimeout",
    "setInterval",
    "setImmediate",
    "clearTimeout",
    "clearInterval",
    "clearImmediate",
];

/// What surrounds one program.
#[derive(Debug)]
pub(super) struct Host {
    /// What the program may print, in bytes.
    limit: usize,
    printed: RefCell<String>,
    too_much: Cell<bool>,
    /// What `rest.js` gave, once it was needed. The engine does not see this reference, so it is
    /// dropped before the engine is ([`Host::leave`]).
    rest: RefCell<Option<Persistent<Object<'static>>>>,
}

impl Host {
    pub(super) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            printed: RefCell::default(),
            too_much: Cell::default(),
            rest: RefCell::default(),
        })
    }

    /// Makes the globals.
    pub(super) fn install<'js>(self: &Rc<Self>, ctx: &Ctx<'js>) -> rquickjs::Result<()> {
        let globals = ctx.globals();
        let console = Object::new(ctx.clone())?;
        let host = Rc::clone(self);
        let log = move |ctx: Ctx<'js>, values: Rest<Value<'js>>| host.log(&ctx, &values.0);
        let log = Function::new(ctx.clone(), log)?;
        for name in PRINTING {
            console.set(name, log.clone())?;
        }
        let ignore = Function::new(ctx.clone(), || {})?;
        for name in SILENT {
            console.set(name, ignore.clone())?;
        }
        globals.set("console", console)?;
        for name in TIMERS {
            let host = Rc::clone(self);
            let timer = move |ctx: Ctx<'js>, values: Rest<Value<'js>>| {
                let timer: Function<'js> = host.rest(&ctx)?.get(name)?;
                timer.call::<_, Value<'js>>((values,))
            };
            globals.set(name, Function::new(ctx.clone(), timer)?)?;
        }
        globals.set("global", globals.clone())
    }

    /// Fires the timer that is due first; false when there is none.
    pub(super) fn fire_timer(&self, ctx: &Ctx<'_>) -> rquickjs::Result<bool> {
        if self.rest.borrow().is_none() {
            return Ok(false);
        }
        self.rest(ctx)?.get::<_, Function<'_>>("fire")?.call(())
    }

    /// Lets go of everything in the engine; what was printed, or None if it was too much.
    pub(super) fn leave(&self) -> Option<String> {
        self.rest.take();
        (!self.too_much.get()).then(|| self.printed.take())
    }

    fn log<'js>(&self, ctx: &Ctx<'js>, values: &[Value<'js>]) -> rquickjs::Result<()> {
        let alone = match values {
            [value] => value.as_string().and_then(|text| text.to_string().ok()),
            _ => None,
        };
        let text = match alone {
            Some(text) => text,
            // Several values, or text that is not well-formed.
            None => self.rest(ctx)?.get::<_, Function<'js>>("show")?.call((values.to_vec(),))?,
        };
        let mut printed = self.printed.borrow_mut();
        if printed.len().saturating_add(text.len() + 1) > self.limit {
            self.too_much.set(true);
            return Err(Exception::throw_range(ctx, "too much output"));
        }
        if printed.is_empty() {
            // mostly all that there is, and it may be large
            *printed = text;
        } else {
            printed.push_str(&text);
        }
        printed.push('\n');
        Ok(())
    }

    fn rest<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
        if let Some(rest) = &*self.rest.borrow() {
            return rest.clone().restore(ctx);
        }
        let make: Function<'js> = ctx.eval(REST)?;
        let rest: Object<'js> = make.call(())?;
        self.rest.replace(Some(Persistent::save(ctx, rest.clone())));
        Ok(rest)
    }
}
