//! What workers say of calls of models that wait: for which provider, and why. It goes beside what
//! they say anyway, as lines of text, so that releases that know nothing of it read the rest, and a
//! line that is not understood is passed over. Nothing is decided by it.

use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_services::models::limits::Why;

use crate::message::Shard;

/// The most tasks that a worker tells of.
pub const MOST_TASKS: usize = 256;

/// The most bytes of lines: with other headers they must fit into one frame.
pub const MOST_BYTES: usize = 6 << 10;

/// A task with a call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The shard that the task was published for.
    pub shard: Shard,
    /// The task's number.
    pub number: u64,
    /// The provider, by its name in the services file.
    pub provider: Name,
    /// What stands in the way.
    pub why: Why,
    /// Until when it does, at the earliest; None where that is not known.
    pub until: Option<Time>,
}

/// As lines; those that are too many are left out.
pub fn write(waits: &[Waiting]) -> String {
    let mut lines = String::new();
    for wait in waits.iter().take(MOST_TASKS) {
        let Waiting { shard, number, provider, why, until } = wait;
        // moments are of this century: 0 is none of them
        let until = until.map_or(0, |until| until.0);
        let line = format!("{shard} {number} {} {until} {provider}\n", why.name());
        // a name with an end of line in it would be two lines
        let is_one = !provider.contains('\n');
        if is_one && lines.len() + line.len() <= MOST_BYTES {
            lines.push_str(&line);
        }
    }
    lines
}

/// Reads lines. Of a later release there may be others: those are left out.
pub fn read(lines: &str) -> Vec<Waiting> {
    let read = |line: &str| {
        let mut words = line.splitn(5, ' ');
        let shard = Shard(words.next()?.parse().ok()?);
        let number = words.next()?.parse().ok()?;
        let why = Why::of(words.next()?)?;
        let until: u64 = words.next()?.parse().ok()?;
        let provider = words.next()?.into();
        let until = (until > 0).then_some(Time(until));
        Some(Waiting { shard, number, provider, why, until })
    };
    lines.lines().filter_map(read).take(MOST_TASKS).collect()
}

/// As a member of something that is JSON.
#[cfg(feature = "redis")]
pub(crate) mod text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Waiting;

    pub(crate) fn serialize<S: Serializer>(waits: &[Waiting], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::write(waits))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Waiting>, D::Error> {
        String::deserialize(from).map(|lines| super::read(&lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(number: u64, provider: &str) -> Waiting {
        let until = number.is_multiple_of(2).then_some(Time(number + 9));
        let why = Why::ALL[usize::try_from(number).unwrap() % Why::ALL.len()];
        Waiting { shard: Shard(7), number, provider: provider.into(), why, until }
    }

    #[test]
    fn what_is_written_is_read() {
        let waits: Vec<Waiting> = (0..8).map(|number| wait(number, "our own")).collect();
        assert_eq!(write(&waits[..1]), "7 0 requests 9 our own\n");
        assert_eq!(read(&write(&waits)), waits);
        assert!(read("").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let lines =
            "7 1 requests 0 p\n7 2 moon-phase 0 p\n7 x\n\n70000 3 tokens 0 p\n7 4 tokens 5 q";
        let read: Vec<(u64, String)> =
            read(lines).into_iter().map(|wait| (wait.number, wait.provider.to_string())).collect();
        assert_eq!(read, [(1, "p".to_owned()), (4, "q".to_owned())]);
    }

    #[test]
    fn it_stays_small() {
        let many: Vec<Waiting> = (0..9999).map(|number| wait(number, "p")).collect();
        assert_eq!(read(&write(&many)).len(), MOST_TASKS);
        let long: Vec<Waiting> = (0..99).map(|number| wait(number, &"p".repeat(500))).collect();
        let lines = write(&long);
        assert!(lines.len() <= MOST_BYTES && read(&lines).len() > 10, "{}", lines.len());
        assert!(write(&[wait(1, "a\nb")]).is_empty());
    }
}
