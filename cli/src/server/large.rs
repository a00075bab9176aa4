//! Large outputs of a run: a server answers with links in their place, which are followed here.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flowmill_engine::value::{Name, Object, Style, Value, dumps, loads};
use reqwest::{Method, StatusCode, header};

use super::{Refused, Reply, Server, number, object, text};
use crate::console::{one_line, talk};

/// The most bytes of large outputs that are fetched to be shown.
const SHOWN_BYTES: u64 = 8 << 20;

/// How often a fetch that breaks off is taken up again, if it comes no further.
const TRIES: u32 = 5;

/// The wait before it is.
const AGAIN: Duration = Duration::from_millis(500);

/// Letters of a name.
const NAME: usize = 60;

/// A run with its large outputs in place of the links to them, as far as they are not too much.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn follow(server: &Server, reply: Reply) -> anyhow::Result<Reply> {
    follow_some(server, reply, SHOWN_BYTES).await
}

/// The same, however much they are.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn follow_all(server: &Server, reply: Reply) -> anyhow::Result<Reply> {
    follow_some(server, reply, u64::MAX).await
}

async fn follow_some(server: &Server, reply: Reply, room: u64) -> anyhow::Result<Reply> {
    let (place, mut outputs, links) = large(&reply.members);
    if links.is_empty() {
        return Ok(reply);
    }
    let run = reply.text("id").to_owned();
    let (mut room, mut left) = (room, Vec::new());
    for name in links {
        let Some(Value::Object(link)) = outputs.get(&name).cloned() else { continue };
        let (bytes, shown) = (number(&link, "bytes"), one_line(&name, NAME));
        if bytes > room {
            talk(format_args!("{shown} has {bytes} bytes: --outputs FILE writes it to a file"));
            left.push(Value::Str(name));
            continue;
        }
        match server.get(&["runs", &run, "payloads", text(&link, "digest")], Vec::new()).await {
            Ok(payload) => {
                let value = loads(&payload.text);
                let value = value.with_context(|| format!("failed to read the output {shown}"))?;
                outputs.insert(name, value);
                room -= bytes;
            }
            Err(error) => {
                // what is not given is said, and all else is shown
                let refused = error.downcast::<Refused>()?;
                talk(format_args!("{shown} is not shown: {}", one_line(&refused.detail, NAME * 4)));
                left.push(Value::Str(name));
            }
        }
    }
    let mut members = reply.members;
    members.insert(place.into(), Value::object(outputs));
    if left.is_empty() {
        members.shift_remove("outputs_by_reference");
    } else {
        members.insert("outputs_by_reference".into(), Value::array(left));
    }
    let text = dumps(&Value::object(members.clone()), Style::Finite);
    Ok(Reply { status: reply.status, text, members })
}

/// Writes the outputs of a run to a file as one JSON object, however large they are.
///
/// # Errors
/// When they cannot be had or written; then the file is as it was.
pub(crate) async fn save(server: &Server, run: &Object, file: &Path) -> anyhow::Result<()> {
    let shown = file.display();
    let mut draft = file.as_os_str().to_owned();
    draft.push(".part");
    let draft = Path::new(&draft);
    let written = write(server, run, draft).await;
    let kept = match written {
        Ok(()) => std::fs::rename(draft, file).map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if kept.is_err() {
        // the first error is the one to tell
        let _ = std::fs::remove_file(draft);
    }
    kept.with_context(|| format!("failed to write the outputs to {shown}"))?;
    talk(format_args!("the outputs are in {shown}"));
    Ok(())
}

async fn write(server: &Server, run: &Object, draft: &Path) -> anyhow::Result<()> {
    let (_, outputs, links) = large(run);
    let mut out = BufWriter::new(std::fs::File::create(draft)?);
    out.write_all(b"{")?;
    let mut separator = "";
    for (name, value) in &outputs {
        let quoted = dumps(&Value::Str(name.clone()), Style::Finite);
        write!(out, "{separator}\n  {quoted}: ")?;
        separator = ",";
        match value {
            Value::Object(link) if links.contains(name) => {
                let path = ["runs", text(run, "id"), "payloads", text(link, "digest")];
                let copied = server.copy(&path, &mut out).await;
                copied.with_context(|| format!("failed to fetch {}", one_line(name, NAME)))?;
            }
            value => out.write_all(dumps(value, Style::Finite).as_bytes())?,
        }
    }
    out.write_all(b"\n}\n")?;
    out.flush()?;
    Ok(())
}

/// The member with a run's outputs, these, and which of them are links.
fn large(run: &Object) -> (&'static str, Object, BTreeSet<Name>) {
    let place = if run.contains_key("partial_outputs") { "partial_outputs" } else { "outputs" };
    let outputs: Object = object(run, place).into_iter().collect();
    let links = match run.get("outputs_by_reference") {
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(Name::from).collect()
        }
        _ => BTreeSet::new(),
    };
    (place, outputs, links)
}

impl Server {
    /// Writes what lies under a path, as it comes. If it breaks off, it goes on from there.
    async fn copy(&self, path: &[&str], out: &mut impl std::io::Write) -> anyhow::Result<()> {
        let (mut at, mut tries) = (0, 0);
        loop {
            let from = at;
            let Some(broken) = self.copy_some(path, &mut at, out).await? else { return Ok(()) };
            tries = if at > from { 0 } else { tries + 1 };
            if tries >= TRIES {
                bail!("{} stopped answering: {broken}", self.address());
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Writes what comes from a place on, and moves the place; answers why it broke off, if it did.
    async fn copy_some(
        &self,
        path: &[&str],
        at: &mut u64,
        out: &mut impl std::io::Write,
    ) -> anyhow::Result<Option<String>> {
        let mut request = self.request(Method::GET, path, &[]);
        if *at > 0 {
            request = request.header(header::RANGE, format!("bytes={at}-"));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Some(error.to_string())),
        };
        let status = response.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(Some("it is not ready".to_owned()));
        }
        if !status.is_success() {
            // an error says what the server said
            return self.read(status, response.text().await?).map(|_| None);
        }
        if *at > 0 && status != StatusCode::PARTIAL_CONTENT {
            bail!("the server does not go on where it broke off");
        }
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    out.write_all(&piece)?;
                    *at += piece.len() as u64;
                }
                Ok(None) => return Ok(None),
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
    }
}
