//! A run for those who watch it: what happened, in Dify's words.
//!
//! [`Events`] is a fold over a run's facts, and over text as it is written: whoever folds the same
//! facts gets the same events, with the same places. [`Journal`] is the part of it that says what is
//! to be seen in a fact at all, for other ways of showing a run.

mod answer;
mod events;
mod journal;
mod words;

pub use events::{Events, Line};
pub use journal::{Answered, Container, Finish, Journal, Place, Seen, container};
pub use words::{
    causes, elapsed, errors, handled, key, member, number, object, seconds, text, time,
};
