//! The binary in a terminal: a pseudo-terminal at whose other end the test reads and types.

use std::fs::File;
use std::io::Read as _;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::pty::{Winsize, openpty};

use super::*;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program in a terminal of 30 rows and 90 columns.
struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<(Mutex<Screen>, Condvar)>,
}

/// All that was written, and whether nothing more will come.
#[derive(Default)]
struct Screen {
    written: String,
    is_over: bool,
}

impl Terminal {
    fn new(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
        let ends = openpty(&size, None).unwrap();
        let end = || Stdio::from(ends.slave.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowmill"));
        command.args(arguments).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(environment.iter().copied()).stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        // ours would keep the terminal open
        drop((command, ends.slave));
        let mut reads = File::from(ends.master.try_clone().unwrap());
        let screen: Arc<(Mutex<Screen>, Condvar)> = Arc::default();
        let shared = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut pending = Vec::new();
            // reading fails once the program has gone
            while let Ok(count @ 1..) = reads.read(&mut bytes) {
                pending.extend_from_slice(&bytes[..count]);
                let whole = match std::str::from_utf8(&pending) {
                    Ok(text) => text.len(),
                    Err(error) => error.valid_up_to(),
                };
                let text: Vec<u8> = pending.drain(..whole).collect();
                shared.0.lock().unwrap().written += std::str::from_utf8(&text).unwrap();
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().is_over = true;
            shared.1.notify_all();
        });
        Self { child, keys: File::from(ends.master), screen }
    }

    /// Waits until something is written, or stands there in the end.
    #[track_caller]
    fn shows(&self, text: &str) -> String {
        let (screen, changed) = &*self.screen;
        let shown = |written: &str| written.contains(text) || picture(written).contains(text);
        let missing = |screen: &mut Screen| !shown(&screen.written) && !screen.is_over;
        let (screen, _) =
            changed.wait_timeout_while(screen.lock().unwrap(), PATIENCE, missing).unwrap();
        assert!(shown(&screen.written), "{text:?} is missing in {:?}", screen.written);
        screen.written.clone()
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Its exit code, and all that it wrote.
    fn ends(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let (screen, changed) = &*self.screen;
        let open = |screen: &mut Screen| !screen.is_over;
        let (screen, _) =
            changed.wait_timeout_while(screen.lock().unwrap(), PATIENCE, open).unwrap();
        (code, screen.written.clone())
    }
}

/// What stands in the terminal in the end: whether anything was drawn in between, and thus moved the
/// cursor, depends on the clock.
fn picture(written: &str) -> String {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                characters.next();
                let sequence = characters.as_str();
                let digits = sequence.find(|c: char| c.is_ascii_alphabetic());
                let Some(digits) = digits else { break }; // cut off here so far
                let command = characters.nth(digits);
                let count = sequence[..digits].parse().unwrap_or(1);
                match command {
                    Some('A') => row -= count,
                    Some('C') => column += count,
                    Some('J') => {
                        rows.truncate(row + 1);
                        rows[row].truncate(column);
                    }
                    _ => {} // a colour
                }
            }
            _ => {
                let length = rows[row].len().max(column + 1);
                rows[row].resize(length, ' ');
                rows[row][column] = character;
                column += 1;
            }
        }
        rows.resize(rows.len().max(row + 1), Vec::new());
    }
    rows.iter().map(|row| row.iter().collect::<String>() + "\n").collect()
}

fn document(name: &str, text: &str) -> String {
    file(&format!("terminal-{name}"), text)
}

const ITEMS: &str = r#"items={"list": [1, 2, 3, 4]}"#;

/// An iteration over a list whose body is one model that takes 0.3 s.
fn each() -> [String; 2] {
    let items =
        r#"{"variable": "items", "label": "items", "type": "json_object", "required": true}"#;
    let nodes = [
        &start(items),
        "{id: it, data: {type: iteration, title: Each, start_node_id: b, iterator_selector: [s, items, list], output_selector: [m, text], error_handle_mode: continue-on-error}}",
        "{id: b, parentId: it, data: {type: iteration-start}}",
        &LLM.replace("{id: m, ", "{id: m, parentId: it, "),
        &end("all", "it, output"),
    ];
    let edges = ["{source: s, target: it}", "{source: b, target: m}", "{source: it, target: e}"];
    let mocks = r#"{"m": [{"when": {"it.index": 2}, "error": "no answer today"}, {"delay_ms": 300, "outputs": {"text": "x", "usage": {"total_tokens": 7}}}]}"#;
    [document("each.yml", &workflow(&nodes, &edges)), document("each.json", mocks)]
}

#[test]
fn what_runs_is_drawn_while_it_runs() {
    let [workflow, mocks] = each();
    let arguments = ["run", &workflow, "--input", ITEMS, "--mock", &mocks];
    let terminal = Terminal::new(&arguments, &[]);
    terminal.shows("Each (iteration)  ");
    terminal.shows(" 1/4 ");
    terminal.shows("Ask (llm) [1]");
    terminal.shows(" s left");
    let (code, written) = terminal.ends();
    assert_eq!(code, 3, "{written}");
    assert!(written.contains("\u{1b}[32m\u{2501}"), "the bar has a colour: {written:?}");
    assert!(written.contains("Ask (llm m@it[2]): no answer today"), "{written:?}");
    assert!(written.contains(", 4 elements, 4 nodes, 1 element failed"), "{written:?}");
    assert!(written.contains(" 21 tokens"), "{written:?}");
    assert!(!written.contains("started"), "what is drawn is not said: {written:?}");
    // what was drawn is gone, the outputs come last
    let (_, last) = written.rsplit_once("\u{1b}[J").unwrap();
    assert!(!last.contains('\u{2501}'), "{last:?}");
    assert!(last.ends_with("all: [\"x\", \"x\", null, \"x\"]\r\n"), "{last:?}");
}

#[test]
fn colours_can_be_refused() {
    let [workflow, mocks] = each();
    let arguments = ["run", &workflow, "--input", ITEMS, "--mock", &mocks];
    let (_, written) = Terminal::new(&arguments, &[("NO_COLOR", "1")]).ends();
    assert!(written.contains('\u{2501}') && !written.contains("\u{1b}[3"), "{written:?}");
    let (_, written) = Terminal::new(&arguments, &[("TERM", "dumb")]).ends();
    assert!(written.contains("started"), "{written:?}");
    assert!(!written.contains('\u{1b}'), "{written:?}");
}

/// Asks with a text and a select.
fn asks(extra: &str) -> String {
    let form = format!(
        "{{id: h, data: {{type: human-input, title: Sure, form_content: 'All right? {{{{#$output.note#}}}}', inputs: [{{type: paragraph, output_variable_name: note}}, {{type: select, output_variable_name: how, option_source: {{type: constant, value: [fast, slow]}}}}], user_actions: [{{id: go, title: Go on}}, {{id: halt, title: Stop}}]{extra}}}}}"
    );
    let end = "{id: e, data: {type: end, title: End, outputs: [{variable: content, value_selector: [h, __rendered_content]}, {variable: how, value_selector: [h, how]}, {variable: action, value_selector: [h, __action_value]}]}}";
    let edges = ["{source: s, target: h}", "{source: h, sourceHandle: go, target: e}"];
    workflow(&[&start(""), &form, end], &edges)
}

#[test]
fn a_person_at_the_terminal_is_asked() {
    let mut terminal = Terminal::new(&["run", &document("asks.yml", &asks(""))], &[]);
    terminal.shows("  | All right? [note]");
    terminal.shows("note (text): ");
    terminal.types("well, yes\n");
    terminal.shows("how 1-2: ");
    terminal.types("medium\n");
    terminal.shows("that is none of them");
    terminal.types("2\n");
    terminal.shows("choose 1-2: ");
    terminal.types("1\n");
    let (code, written) = terminal.ends();
    assert_eq!(code, 0, "{written}");
    let outputs = "content: All right? well, yes\r\nhow: slow\r\naction: Go on\r\n";
    assert!(written.ends_with(outputs), "{written:?}");
}

#[test]
fn a_person_may_go_away() {
    let path = document("leaves.yml", &asks(""));
    for keys in ["\u{4}", "^C"] {
        let mut terminal = Terminal::new(&["run", &path], &[]);
        terminal.shows("note (text): ");
        if keys == "^C" {
            terminal.interrupt();
        } else {
            terminal.types(keys);
        }
        let (code, written) = terminal.ends();
        assert_eq!(code, 4, "{written}");
        assert!(written.contains("answer it with --answer 'h=go,note="), "{written:?}");
        assert!(written.contains("paused"), "{written:?}");
    }
}

#[test]
fn an_answer_is_shown_as_it_comes_and_only_once() {
    let answer = "{id: a, data: {type: answer, title: Answer, answer: \"You said {{#sys.query#}}.\\nSo: {{#m.text#}} and {{#t.text#}}\"}}";
    let second = LLM.replace("{id: m, ", "{id: t, ");
    let edges = ["{source: s, target: m}", "{source: m, target: t}", "{source: t, target: a}"];
    let chat = super::document("advanced-chat", &[&start(""), LLM, &second, answer], &edges);
    let path = document("chat.yml", &chat);
    let slow = r#"{"m": {"delay_ms": 60, "chunks": ["one ", "two"], "outputs": {"text": "one two"}}, "t": {"delay_ms": 60000, "outputs": {"text": "three"}}}"#;
    let slow = document("chat-slow.json", slow);
    let terminal = Terminal::new(&["run", &path, "--mock", &slow, "--query", "hi"], &[]);
    // it stands there although the run goes on
    terminal.shows("one two and ");
    terminal.shows("Ask (llm)");
    terminal.interrupt();
    let (code, written) = terminal.ends();
    assert_eq!(code, 1, "{written}");
    assert_eq!(written.matches("two and").count(), 1, "{written:?}");

    let quick = r#"{"m": {"chunks": ["one ", "two"], "outputs": {"text": "one two"}}, "t": {"chunks": ["thr", "ee"], "outputs": {"text": "three"}}}"#;
    let quick = document("chat-quick.json", quick);
    let arguments = ["run", &path, "--mock", &quick, "--query", "hi"];
    let (code, written) = Terminal::new(&arguments, &[]).ends();
    assert_eq!(code, 0, "{written}");
    assert_eq!(written.matches("thr").count(), 1, "{written:?}");
    let whole = picture(&written);
    assert!(whole.starts_with("You said hi.\nSo: one two and three\n"), "{written:?}");
    assert!(whole.contains("4 steps"), "what is said comes after it: {written:?}");
    // and a reader that is no terminal gets just the answer
    assert_eq!(flowmill(&arguments).expect(0).out, "You said hi.\nSo: one two and three\n");
}

#[test]
fn long_outputs_are_cut_on_a_terminal_alone() {
    let template = "{id: t, data: {type: template-transform, title: Long, template: \"{{ 'line\\n' * 500 }}\", variables: []}}";
    let edges = ["{source: s, target: t}", "{source: t, target: e}"];
    let path =
        document("long.yml", &workflow(&[&start(""), template, &end("text", "t, output")], &edges));
    let (code, written) = Terminal::new(&["run", &path], &[]).ends();
    assert_eq!(code, 0, "{written}");
    assert!(written.matches("line\r\n").count() < 250, "{written}");
    assert!(written.contains("more letters"), "{written}");
    assert_eq!(flowmill(&["run", &path]).out.matches("line\n").count(), 500);
}
