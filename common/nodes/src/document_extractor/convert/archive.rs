//! The parts of a zip archive, unpacked only when they are asked for and never more than allowed.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::{Limits, Stop};

/// More entries than any document has.
const MOST_ENTRIES: usize = 20_000;

pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What may still be unpacked.
    left: usize,
    limits: Limits,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, Stop> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|_| Stop::fault("File is not a zip file"))?;
        if zip.len() > MOST_ENTRIES {
            return Err(Stop::Limit("entries of an archive", MOST_ENTRIES));
        }
        Ok(Self { zip, left: limits.unpacked_bytes, limits: *limits })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where the entry of that name is. Some Windows programs write `\` for `/`.
    fn index(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(name).or_else(|| self.zip.index_for_name(&name.replace('/', "\\")))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.index(name).is_some()
    }

    /// An entry's content.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>, Stop> {
        let missing = || Stop::Fault(format!("\"There is no item named '{name}' in the archive\""));
        let index = self.index(name).ok_or_else(missing)?;
        let entry = self.zip.by_index(index).map_err(Stop::fault)?;
        // what an entry says of its own size is not to be believed
        let mut bytes = Vec::new();
        let most = u64::try_from(self.left).unwrap_or(u64::MAX);
        entry.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(Stop::fault)?;
        match self.left.checked_sub(bytes.len()) {
            Some(left) => self.left = left,
            None => return Err(Stop::Limit("bytes unpacked", self.limits.unpacked_bytes)),
        }
        Ok(bytes)
    }

    /// Unpacks everything once and forgets it: for readers that unpack by themselves.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        for index in 0..self.zip.len() {
            let Ok(entry) = self.zip.by_index(index) else { continue };
            let most = u64::try_from(self.left).unwrap_or(u64::MAX).saturating_add(1);
            let size = std::io::copy(&mut entry.take(most), &mut std::io::sink()).unwrap_or(0);
            match self.left.checked_sub(usize::try_from(size).unwrap_or(usize::MAX)) {
                Some(left) => self.left = left,
                None => return Err(Stop::Limit("bytes unpacked", self.limits.unpacked_bytes)),
            }
        }
        Ok(())
    }
}

/// A path in an archive: `target` as it is meant in the folder of `from`.
pub(super) fn resolve(from: &str, target: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = match target.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("{folder}/{target}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn paths_are_resolved_from_their_folder() {
        assert_eq!(resolve("ppt/slides/a.xml", "../media/./b.png"), "ppt/media/b.png");
        assert_eq!(resolve("ppt/slides/a.xml", "/word/x.xml"), "word/x.xml");
        assert_eq!(resolve("a.xml", "../../b.xml"), "b.xml");
    }
}
