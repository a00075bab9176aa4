//! What people answer where a run waits for them: given beforehand (`--answer`), or in a terminal.

mod form;
mod given;
mod prompt;

pub(crate) use form::{how_to_answer, show_form};
pub(crate) use given::{Answer, Answers};
pub(crate) use prompt::{Lines, Prompted, is_there, prompt};
