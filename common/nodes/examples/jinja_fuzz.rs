use std::io::BufRead;
use flowmill_engine::value::{loads, Value};
use flowmill_nodes::jinja::{Context, Fail, Template};
fn main() {
    let verbose = std::env::args().nth(1).is_some();
    let (mut same, mut refused, mut wrong) = (0, 0, 0);
    let mut why: std::collections::BTreeMap<String, usize> = Default::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let Value::Object(case) = loads(&line).unwrap() else { panic!() };
        let Value::Object(ctx) = &case["context"] else { panic!() };
        let template = case["template"].as_str().unwrap();
        let begin = std::time::Instant::now();
        let got = Context::new(ctx.iter().map(|(k, v)| (k.clone(), v.clone())))
            .and_then(|c| Template::compile(template).render(&c));
        if begin.elapsed().as_millis() > 500 { println!("SLOW {:?} {template:?}", begin.elapsed()); }
        let got = match got {
            Ok(text) => ("output", text),
            Err(Fail::Raised { kind, message }) => ("error", format!("{kind}: {message}")),
            Err(Fail::Refused(w)) => { refused += 1; *why.entry(w.to_string()).or_default() += 1; if verbose { println!("REFUSED {w}: {template:?}  want {:?}", case.get("output").or(case.get("error")).map(|v| v.to_python())); } continue; }
        };
        let want = case.get(got.0).and_then(|v| v.as_str());
        if want == Some(&*got.1) { same += 1 } else {
            wrong += 1;
            println!("WRONG {template:?}\n  got  {got:?}\n  want {:?}", case.iter().filter(|(k, _)| &***k != "template" && &***k != "context").map(|(k, v)| (k.to_string(), v.to_python())).collect::<Vec<_>>());
        }
    }
    let mut why: Vec<_> = why.into_iter().collect();
    why.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    for (w, n) in why.iter().take(40) { println!("{n:6} {w}"); }
    println!("same {same} refused {refused} wrong {wrong}");
}
