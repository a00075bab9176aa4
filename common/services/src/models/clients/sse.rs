//! Server-sent events: bytes in pieces of any size, data out.

/// The largest event that is taken.
const MOST_BYTES: usize = 16 << 20;

/// An event is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Puts events together.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Whether the last line ended with a carriage return, whose line feed may follow.
    after_return: bool,
    /// The data of the event that has not ended yet.
    data: Option<String>,
}

impl Events {
    /// Takes bytes and hands on the data of each event that they end.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str),
    ) -> Result<(), TooLarge> {
        for byte in bytes {
            let skips = self.after_return && *byte == b'\n';
            self.after_return = *byte == b'\r';
            match byte {
                b'\n' if skips => {}
                b'\n' | b'\r' => self.end_line(&mut each),
                byte => self.line.push(*byte),
            }
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held > MOST_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(())
    }

    /// Hands on what was left without an end.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end_line(&mut each);
        }
        if let Some(data) = self.data.take() {
            each(&data);
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                each(&data);
            }
            return;
        }
        let line = String::from_utf8_lossy(&line);
        // other fields and comments mean nothing to us
        let Some(data) = line.strip_prefix("data:") else { return };
        let data = data.strip_prefix(' ').unwrap_or(data);
        match &mut self.data {
            Some(before) => {
                before.push('\n');
                before.push_str(data);
            }
            None => self.data = Some(data.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for piece in pieces {
            events.take(piece, |data| found.push(data.to_owned())).unwrap();
        }
        events.finish(|data| found.push(data.to_owned()));
        found
    }

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let text = ": hello\r\nevent: x\r\ndata: one\r\ndata:two\r\n\r\ndata: {\"a\": \"\u{e9}\"}\n\n\
                    id: 3\n\ndata: rest";
        let wanted = ["one\ntwo", "{\"a\": \"\u{e9}\"}", "rest"];
        assert_eq!(events(&[text.as_bytes()]), wanted);
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(events(&single), wanted);
    }

    #[test]
    fn an_event_without_end_is_not_kept_for_ever() {
        let mut events = Events::default();
        let block = vec![b'x'; MOST_BYTES];
        assert_eq!(events.take(&block, |_| {}), Ok(()));
        assert_eq!(events.take(b"x", |_| {}), Err(TooLarge));
    }
}
