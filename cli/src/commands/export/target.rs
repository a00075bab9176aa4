//! A file of lines that is there when it is whole. Until then it is written beside its place; what
//! broke off goes on behind its last whole line.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Value, loads};

use crate::server::text;

/// Bytes that are read at a time, from the end.
const PIECE: u64 = 64 << 10;

/// Where lines are written, each whole.
pub(super) struct Target {
    to: BufWriter<Box<dyn Write + Send>>,
    /// None: standard output.
    place: Option<Place>,
    /// The run of the last line that was there before.
    last: Option<String>,
}

#[derive(Clone, Debug)]
struct Place {
    file: PathBuf,
    /// Where it is written until it is whole.
    draft: PathBuf,
}

impl Place {
    fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), draft: draft(file) }
    }

    fn failed(&self) -> String {
        format!("failed to write {}", self.draft.display())
    }
}

/// Where a file is written until it is whole.
pub(super) fn draft(file: &Path) -> PathBuf {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".part");
    draft.into()
}

impl Target {
    /// A file, or standard output. One that goes on is what broke off, or else what is whole; then it
    /// moves out of its place until it is whole again.
    ///
    /// # Errors
    /// When it cannot be written, or holds something else than such lines.
    pub(super) fn open(file: Option<&Path>, goes_on: bool) -> anyhow::Result<Self> {
        let Some(file) = file else {
            let to: Box<dyn Write + Send> = Box::new(std::io::stdout());
            return Ok(Self { to: BufWriter::new(to), place: None, last: None });
        };
        let place = Place::of(file);
        if goes_on && !place.draft.exists() && file.exists() {
            std::fs::rename(file, &place.draft).with_context(|| place.failed())?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!goes_on);
        let mut opened = options.open(&place.draft).with_context(|| place.failed())?;
        let last = if goes_on { cut(&mut opened, &place)? } else { None };
        opened.seek(SeekFrom::End(0)).with_context(|| place.failed())?;
        let to: Box<dyn Write + Send> = Box::new(opened);
        Ok(Self { to: BufWriter::new(to), place: Some(place), last })
    }

    /// The run of the last line that was there before.
    pub(super) fn last(&self) -> Option<String> {
        self.last.clone()
    }

    /// Whether a line of this run was there before.
    pub(super) fn has(&self, run: &str) -> anyhow::Result<bool> {
        self.first_of(run).map(|at| at.is_some())
    }

    /// Where the first line of a run begins.
    fn first_of(&self, run: &str) -> anyhow::Result<Option<u64>> {
        let Some(place) = &self.place else { return Ok(None) };
        let failed = || format!("failed to read {}", place.draft.display());
        let mut lines = BufReader::new(File::open(&place.draft).with_context(failed)?);
        let begins = format!("{{\"run\":\"{run}\",");
        let (mut at, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line).with_context(failed)?;
            if read == 0 {
                return Ok(None);
            }
            if line.starts_with(begins.as_bytes()) {
                return Ok(Some(at));
            }
            at += read as u64;
        }
    }

    /// Takes away the lines of the last run that was there before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn forget(&mut self, run: &str) -> anyhow::Result<()> {
        let (Some(at), Some(place)) = (self.first_of(run)?, self.place.clone()) else {
            return Ok(());
        };
        let opened = OpenOptions::new().write(true).open(&place.draft);
        let cut = opened.and_then(|file| file.set_len(at));
        cut.with_context(|| place.failed())?;
        *self = Self::open(Some(&place.file), true)?;
        Ok(())
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let written = self.to.write_all(line.as_bytes());
        written.with_context(|| self.failed())
    }

    /// All lines are in the hands of the system when this returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.to.flush().with_context(|| self.failed())
    }

    /// It is whole, and takes its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.flush()?;
        let Some(place) = &self.place else { return Ok(()) };
        let synced = File::open(&place.draft).and_then(|file| file.sync_all());
        let moved = synced.and_then(|()| std::fs::rename(&place.draft, &place.file));
        moved.with_context(|| format!("failed to write {}", place.file.display()))
    }

    fn failed(&self) -> String {
        match &self.place {
            Some(place) => place.failed(),
            None => "failed to write to standard output".to_owned(),
        }
    }
}

/// Takes away what is no whole line; answers the run of the last one.
fn cut(file: &mut File, place: &Place) -> anyhow::Result<Option<String>> {
    let failed = || place.failed();
    let whole = match newline_before(file, file_len(file)?).with_context(failed)? {
        Some(at) => at + 1,
        None => 0,
    };
    file.set_len(whole).with_context(failed)?;
    if whole == 0 {
        return Ok(None);
    }
    let begins = newline_before(file, whole - 1).with_context(failed)?.map_or(0, |at| at + 1);
    let mut line = String::new();
    file.seek(SeekFrom::Start(begins)).with_context(failed)?;
    file.read_to_string(&mut line).with_context(failed)?;
    match loads(line.trim_end()) {
        Ok(Value::Object(members)) if !text(&members, "run").is_empty() => {
            Ok(Some(text(&members, "run").to_owned()))
        }
        _ => bail!("{} is no export: its last line names no run", place.draft.display()),
    }
}

fn file_len(file: &File) -> std::io::Result<u64> {
    file.metadata().map(|metadata| metadata.len())
}

/// Where the last line break before a place is.
fn newline_before(file: &mut File, end: u64) -> std::io::Result<Option<u64>> {
    let mut end = end;
    while end > 0 {
        let begin = end.saturating_sub(PIECE);
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        file.take(end - begin).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(begin + at as u64));
        }
        end = begin;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: &str) -> String {
        format!("{{\"run\":\"{run}\",\"outputs\":\"{}\"}}\n", "x".repeat(100_000))
    }

    fn read(file: &Path) -> String {
        std::fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.jsonl");
        std::fs::write(&file, "what was there").unwrap();
        let mut target = Target::open(Some(&file), false).unwrap();
        assert_eq!(target.last(), None);
        target.write(&line("a")).unwrap();
        target.flush().unwrap();
        assert_eq!(read(&file), "what was there");
        target.finish().unwrap();
        assert_eq!(read(&file), line("a"));
        assert!(!Place::of(&file).draft.exists());
    }

    #[test]
    fn what_broke_off_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs.jsonl");
        let draft = Place::of(&file).draft;
        for (before, last) in [
            (String::new(), None),
            (line("a")[..70_000].to_owned(), None),
            (line("a") + &line("b"), Some("b")),
            (line("a") + &line("b")[..99_999], Some("a")),
            (line("a") + "{\"run\":\"b", Some("a")),
        ] {
            std::fs::write(&draft, &before).unwrap();
            let mut target = Target::open(Some(&file), true).unwrap();
            assert_eq!(target.last().as_deref(), last);
            target.write(&line("c")).unwrap();
            target.finish().unwrap();
            let whole = read(&file);
            let kept = before.rfind('\n').map_or("", |end| &before[..=end]);
            assert_eq!(whole, kept.to_owned() + &line("c"));
        }
        // a whole one goes on as well, and is away until it is whole again
        let mut target = Target::open(Some(&file), true).unwrap();
        assert_eq!((target.last().as_deref(), file.exists()), (Some("c"), false));
        target.write(&line("d")).unwrap();
        target.finish().unwrap();
        assert_eq!(read(&file), line("a") + &line("c") + &line("d"));
        std::fs::write(&file, "a,b\n1,2\n").unwrap();
        let told = Target::open(Some(&file), true).err().unwrap().to_string();
        assert!(told.contains("is no export"), "{told}");
    }

    #[test]
    fn the_lines_of_a_run_that_is_lacking_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.jsonl");
        let short = |run: &str, id: u8| format!("{{\"run\":\"{run}\",\"event_id\":\"{id}\"}}\n");
        let (first, second) = (short("a", 1) + &short("a", 2), short("b", 1) + &short("b", 2));
        std::fs::write(Place::of(&file).draft, first.clone() + &second + "{\"ru").unwrap();
        let mut target = Target::open(Some(&file), true).unwrap();
        assert_eq!(target.last().as_deref(), Some("b"));
        assert_eq!((target.has("a").unwrap(), target.has("c").unwrap()), (true, false));
        target.forget("b").unwrap();
        assert_eq!(target.last().as_deref(), Some("a"));
        target.write(&short("b", 1)).unwrap();
        target.finish().unwrap();
        assert_eq!(read(&file), first + &short("b", 1));
    }
}
