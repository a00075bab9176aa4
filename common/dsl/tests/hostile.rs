//! Documents that are made to hurt: each ends in bounded time, with a clear error or a result.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use flowmill_dsl::document::read;
use flowmill_dsl::yaml::{Budget, load};

/// Far above what any of them takes on a slow machine without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);

/// What reading a text came to: nothing, or the code and message of the first error.
fn fate(text: &str) -> Option<(&'static str, String)> {
    let begun = Instant::now();
    let fate = load(text, &Budget::default()).err().map(|p| (p.code, p.message));
    let start: String = text.chars().take(40).collect();
    assert!(begun.elapsed() < PATIENCE, "{start:?} took {:?}", begun.elapsed());
    fate
}

#[track_caller]
fn assert_too_large(text: &str, names: &str) {
    let (code, message) = fate(text).unwrap_or_default();
    assert_eq!(code, "document_too_large");
    assert!(message.contains(names), "{message}");
}

#[test]
fn a_file_of_100_mb_is_refused() {
    assert_too_large(&"a: b\n".repeat(20_000_000), "100000000 bytes, 16777216 are allowed");
}

#[test]
fn depth_is_limited() {
    let deep = 10_000;
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[a: ", "]")] {
        let text = format!("{}x{}", open.repeat(deep), close.repeat(deep));
        assert_too_large(&text, "more than 200 levels");
        let shallow = fate(&format!("{}x{}", open.repeat(99), close.repeat(99)));
        assert_eq!(shallow.is_none(), open != "? ", "a mapping is no key");
    }
    let mut indented = String::new();
    for depth in 0..3_000 {
        let _ = writeln!(indented, "{}a:", " ".repeat(depth));
    }
    assert_too_large(&indented, "more than 200 levels");
    let mut chain = String::from("- &a0 [x]\n");
    for depth in 1..1_000 {
        let _ = writeln!(chain, "- &a{depth} [*a{}]", depth - 1);
    }
    assert_too_large(&chain, "aliases nest values more than 200 levels");
}

#[test]
fn aliases_do_not_multiply_without_limit() {
    let mut laughs = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    let mut merges = String::from("m0: &m0 {a: 1, b: 2, c: 3}\n");
    for level in 1..40 {
        let below = level - 1;
        let _ = writeln!(laughs, "a{level}: &a{level} [{}]", format!("*a{below}, ").repeat(9));
        let _ = writeln!(merges, "m{level}: &m{level} {{x{level}: 1, ? *m{below} : 2}}");
    }
    assert_too_large(&laughs, "more than 1000000 values");
    assert_eq!(fate(&merges).unwrap().0, "invalid_yaml", "a mapping as a key");
    let mut merges = String::from("m0: &m0 {&k aa: 1, bb: 2, cc: 3}\n");
    for level in 1..100 {
        let list = format!("*m{}, ", level - 1).repeat(9);
        let _ = writeln!(merges, "m{level}: &m{level} {{x{level}: 1, <<: [{list}]}}");
    }
    assert_eq!(fate(&merges), None, "a pair is merged once");
    let quadratic = format!("a: &a [{}]\nb: [{}]", "x, ".repeat(50_000), "*a, ".repeat(50_000));
    assert_too_large(&quadratic, "more than 1000000 values");
    let large_text = format!("a: &a {}\nb: [{}]", "x".repeat(8_000_000), "*a, ".repeat(90_000));
    assert_eq!(fate(&large_text), None, "repeated text is shared");
    assert_too_large(
        &format!("a: &a x\nb: [{}]", "*a, ".repeat(100_001)),
        "more than 100000 aliases",
    );
    assert_eq!(fate("&a [*a]").unwrap().1, "a value that contains itself");
    assert_eq!(fate("&a {b: {<<: *a}}").unwrap().1, "a value that contains itself");
}

#[test]
fn a_million_edges_or_values_end_quickly() {
    let begun = Instant::now();
    let edges = format!("graph:\n  nodes: []\n  edges: [{}]", "{}, ".repeat(900_000));
    let problems = read(&edges).unwrap_err();
    assert_eq!(problems[0].message, "graph.edges has 900000 entries, 200000 are allowed");
    assert!(begun.elapsed() < PATIENCE);
    let edges = "  - {source: a, target: b}\n".repeat(250_000);
    assert_too_large(&format!("graph:\n  edges:\n{edges}"), "more than 1000000 values");
    let mut ids = String::from("graph:\n  nodes:\n");
    ids.push_str(&"  - {id: a, data: {type: end}}\n".repeat(40_000));
    assert_eq!(read(&ids).unwrap().graph.nodes.len(), 40_000, "the plan sees to duplicates");
}

#[test]
fn problems_are_few_however_many_there_are() {
    let reading = load(&"a: 1\n".repeat(100_000), &Budget::default()).unwrap();
    assert_eq!(reading.warnings.len(), 100);
    assert_eq!(reading.root.as_map().unwrap().len(), 1);
}

#[test]
fn characters_that_yaml_forbids_are_named() {
    let problem = load("a: 1\nb: \0", &Budget::default()).unwrap_err();
    assert_eq!((problem.code, problem.line), ("invalid_yaml", 2));
    assert!(problem.message.starts_with("the character U+0000 is not allowed"));
    for text in ["\u{7f}", "\u{9f}", "\u{fffe}", "a: \"\u{1}\""] {
        assert_eq!(fate(text).unwrap().0, "invalid_yaml");
    }
}

#[test]
fn repetition_takes_linear_time() {
    let size = 1 << 17;
    for piece in [
        " ",
        "\n",
        "\t",
        "a",
        "'",
        "\"",
        "[",
        "]",
        "{",
        "}",
        ",",
        "-",
        "- ",
        ": ",
        "? ",
        "!",
        "! ",
        "!a ",
        "&",
        "&a ",
        "*a ",
        "#",
        " #",
        "%",
        "|",
        "|\n",
        ">\n ",
        "---\n",
        "...\n",
        "a\n",
        "a: b\n",
        "a b ",
        "\n \n",
        "<<: {}\n",
        "\\",
        "0",
        "1:",
        "_",
        "é",
        "\u{2028}",
        "\u{feff}",
        "\"\\\n",
        "'a'\n",
        "a: |\n",
        "a:\n- ",
        "[a: ",
        "{a, ",
        "[],",
        "{? ",
        "''",
        "a : ",
        "=\n",
        "x: &x\n",
        "- |\n x\n",
    ] {
        fate(&piece.repeat(size / piece.len()));
        fate(&format!("a: {}", piece.repeat(size / piece.len())));
        fate(&format!("[{}", piece.repeat(size / piece.len())));
        fate(&format!("\"{}", piece.repeat(size / piece.len())));
    }
    for number in
        [format!("0x{}", "f".repeat(size)), "9".repeat(size), format!("1{}", ":1".repeat(size))]
    {
        assert_eq!(fate(&number).unwrap().0, "invalid_yaml");
    }
    assert_eq!(fate(&format!("1{}", ":1".repeat(2_000))), None);
}
