//! The events of a run, read from a server. A stream that breaks off goes on where it was, over
//! whichever process answers then.

use std::time::Duration;

use anyhow::{anyhow, bail};
use flowmill_engine::value::{Name, Object, Value, loads};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;

use super::{AGAIN, Server, number, object, text};

/// A stream in which nothing comes for so long is dead: in silence something comes every 15 s.
const SILENT: Duration = Duration::from_secs(45);

/// The longest that a stream may take in all. It ends with its run, or is begun again.
const WHOLE: Duration = Duration::from_hours(24);

/// How often in a row it is tried again after the first, short waits.
const PATIENCE: usize = 12;

/// The events of one run, in order, each once.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    server: &'a Server,
    run: &'a str,
    follows: bool,
    stream: Option<Response>,
    /// What came and is no whole line.
    rest: Vec<u8>,
    /// The last event that has an id.
    last: Option<Name>,
    /// Bytes of text that came.
    told: u64,
    has_ended: bool,
    tries: usize,
}

impl<'a> Events<'a> {
    /// Those that happened; if it `follows`, also those that happen, until the run has ended.
    pub(crate) fn of(server: &'a Server, run: &'a str, follows: bool) -> Self {
        Self {
            server,
            run,
            follows,
            stream: None,
            rest: Vec::new(),
            last: None,
            told: 0,
            has_ended: false,
            tries: 0,
        }
    }

    /// The next one; None after the last.
    ///
    /// # Errors
    /// When the server refuses it, or stays away.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Object>> {
        loop {
            if let Some(event) = self.line()? {
                if let Some(event) = self.take(event)? {
                    return Ok(Some(event));
                }
                continue;
            }
            if self.has_ended {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.connect().await?;
                continue;
            };
            match timeout(SILENT, stream.chunk()).await {
                Ok(Ok(Some(bytes))) => self.rest.extend_from_slice(&bytes),
                Ok(Ok(None)) if !self.follows => return Ok(None),
                // it broke off, or the process ended
                Ok(Ok(None) | Err(_)) | Err(_) => self.broke_off(),
            }
        }
    }

    /// A whole line of what came.
    fn line(&mut self) -> anyhow::Result<Option<Object>> {
        let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.rest.drain(..=end).collect();
        let read = std::str::from_utf8(&line).ok().and_then(|line| loads(line.trim_end()).ok());
        let Some(Value::Object(event)) = read else {
            bail!("{} sent what is no event; is it a flowmill server?", self.server.address());
        };
        Ok(Some(event.as_ref().clone()))
    }

    /// What is new in an event that came.
    fn take(&mut self, mut event: Object) -> anyhow::Result<Option<Object>> {
        let word = text(&event, "event").to_owned();
        match &*word {
            "ping" => return Ok(None),
            "error" if text(&event, "code") == "too_slow" => {
                self.broke_off();
                return Ok(None);
            }
            "error" => {
                bail!("{} ended the stream: {}", self.server.address(), text(&event, "message"))
            }
            "workflow_finished" => self.has_ended = true,
            _ => {}
        }
        self.tries = 0;
        if let Some(Value::Str(id)) = event.get("event_id") {
            self.last = Some(id.clone());
        }
        let is_new = match &*word {
            "text_chunk" => self.take_text(&mut event, "text"),
            "message" => self.take_text(&mut event, "answer"),
            _ => true,
        };
        Ok(Some(event).filter(|_| is_new))
    }

    /// Text that was shown before the stream broke off comes again; whether there is more in it.
    fn take_text(&mut self, event: &mut Object, name: &str) -> bool {
        let mut data: Object = object(event, "data").into_iter().collect();
        let (piece, offset) = (text(&data, name).to_owned(), number(&data, "offset"));
        let known = usize::try_from(self.told.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.told = self.told.max(offset + piece.len() as u64);
        if known > 0 {
            data.insert(name.into(), Value::from(piece.get(known..).unwrap_or_default()));
            event.insert("data".into(), Value::object(data));
        }
        known == 0 || known < piece.len()
    }

    fn broke_off(&mut self) {
        self.stream = None;
        self.rest.clear();
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let mut query = Vec::new();
        if !self.follows {
            query.push(("follow", "false".to_owned()));
        }
        let request = self.server.request(Method::GET, &["runs", self.run, "events"], &query);
        let mut request = request.header("accept", "application/x-ndjson").timeout(WHOLE);
        if let Some(last) = &self.last {
            request = request.header("last-event-id", &**last);
        }
        let failed = match request.send().await {
            Ok(response) if response.status().is_success() => {
                self.stream = Some(response);
                return Ok(());
            }
            Ok(response) => {
                let status = response.status();
                let text = response.text().await.unwrap_or_default();
                let refused = self.server.read(status, text).err();
                let refused = refused.unwrap_or_else(|| anyhow!("{status}"));
                if status != StatusCode::SERVICE_UNAVAILABLE {
                    return Err(refused);
                }
                refused
            }
            // nobody listens there: it is rather the address that is wrong
            Err(error) if error.is_connect() && self.last.is_none() => {
                return Err(self.server.unreachable(&error));
            }
            Err(error) => self.server.unreachable(&error),
        };
        let longest = AGAIN.last().copied().unwrap_or_default();
        let wait = AGAIN.get(self.tries).copied().unwrap_or(longest);
        self.tries += 1;
        if self.tries > AGAIN.len() + PATIENCE {
            return Err(failed);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
