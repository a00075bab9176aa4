//! Asking the person at the terminal.

use std::io::{BufRead as _, Write as _};

use flowmill_engine::fact::Waiting;
use flowmill_engine::form::{Asked, Entry, EntryKind};
use flowmill_engine::run::{Input, Run};
use flowmill_engine::value::Name;
use flowmill_infra::clock::{Clock as _, SystemClock};
use tokio::sync::mpsc;

use crate::console::{one_line, talk};

use super::form::{answer, show_text, takes, time_left, value_of};

/// Lines that may be typed ahead.
const AHEAD: usize = 16;

/// Letters of an option on a line.
const LINE: usize = 120;

/// Lines from standard input, read only once somebody is asked.
#[derive(Debug, Default)]
pub(crate) struct Lines(Option<mpsc::Receiver<String>>);

impl Lines {
    /// The next line without its end; None when there are no more.
    async fn next(&mut self) -> Option<String> {
        let lines = self.0.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(AHEAD);
            // reading cannot be given up, so it has a thread of its own that ends with the program
            std::thread::spawn(move || {
                let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
                // until nobody wants more
                lines.all(|line| sender.blocking_send(line).is_ok())
            });
            receiver
        });
        lines.recv().await
    }
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Prompted {
    /// The person answered.
    Answered(Box<Input>),
    /// The form's time is over.
    Late,
    /// The person went away (end of input).
    Gone,
}

/// Shows a form and reads the answer, until the form's time is over.
pub(crate) async fn prompt(
    run: &Run,
    waiting: &Waiting,
    asked: &Asked,
    lines: &mut Lines,
    clock: &SystemClock,
) -> Prompted {
    talk("");
    talk(show_text(run, waiting, asked, clock.now()).trim_end());
    let late = tokio::time::sleep(time_left(asked, clock.now()));
    let dialogue = async {
        loop {
            let read = dialogue(asked, lines).await;
            let Some((action, entered)) = read else { return Prompted::Gone };
            match answer(run, waiting, asked, &action, &entered) {
                Ok(input) => return Prompted::Answered(Box::new(input)),
                Err(wrong) => talk(format_args!("{wrong}; once more:")),
            }
        }
    };
    tokio::select! {
        biased;
        prompted = dialogue => prompted,
        () = late => {
            talk("\nthe time to answer is over");
            Prompted::Late
        }
    }
}

/// Reads all entries and the choice.
async fn dialogue(asked: &Asked, lines: &mut Lines) -> Option<(Name, Vec<(Name, Name)>)> {
    let mut entered = Vec::new();
    for entry in &asked.form.entries {
        if let Some(text) = enter(entry, lines).await? {
            entered.push((entry.name.clone(), text));
        }
    }
    let actions = &asked.form.actions;
    for (place, action) in actions.iter().enumerate() {
        talk(format_args!("  {}  {}", place + 1, one_line(&action.title, LINE)));
    }
    loop {
        ask(&format!("choose 1-{}: ", actions.len()));
        let line = lines.next().await?;
        let line = line.trim();
        let numbered = line.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
        let found = numbered.and_then(|place| actions.get(place)).or_else(|| {
            actions.iter().find(|action| &*action.id == line || &*action.title == line)
        });
        if let Some(action) = found {
            return Some((action.id.clone(), entered));
        }
        talk("that is none of them");
    }
}

/// Reads one entry; Some(None) where the default is to be taken.
async fn enter(entry: &Entry, lines: &mut Lines) -> Option<Option<Name>> {
    let name = one_line(&entry.name, LINE);
    if let EntryKind::Select { options } = &entry.kind {
        for (place, option) in options.iter().enumerate() {
            talk(format_args!("  {}  {}", place + 1, one_line(option, LINE)));
        }
        loop {
            ask(&format!("{name} 1-{}: ", options.len()));
            let line = lines.next().await?;
            let by_text = options.iter().find(|option| ***option == line);
            let numbered = line.trim().parse::<usize>().ok();
            let by_place = numbered.and_then(|place| options.get(place.checked_sub(1)?));
            if let Some(option) = by_text.or(by_place) {
                return Some(Some(option.clone()));
            }
            talk("that is none of them");
        }
    }
    loop {
        ask(&format!("{name} ({}): ", takes(entry)));
        let line: Name = lines.next().await?.into();
        let has_default = matches!(entry.kind, EntryKind::Paragraph { default: Some(_) });
        if line.is_empty() && has_default {
            return Some(None);
        }
        match value_of(entry, &line) {
            Ok(_) => return Some(Some(line)),
            Err(wrong) => talk(wrong),
        }
    }
}

fn ask(text: &str) {
    let mut err = std::io::stderr().lock();
    // nothing can be done about a closed one
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// Whether a person sits at the terminal who can be asked.
pub(crate) fn is_there() -> bool {
    use std::io::IsTerminal as _;
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
