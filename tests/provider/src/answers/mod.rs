//! An answer in the words of its protocol.

mod anthropic;
mod gemini;
mod openai;

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, header};
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value as Json, json};

use crate::asked::{Asked, Protocol, Want};
use crate::sample::sample;
use crate::script::{Answer, ScriptedCall};
use crate::seen::UnderWay;

/// How many characters a piece of a stream has.
const PIECE: usize = 8;

/// How long what was said needs to be on its way.
const FLUSH: Duration = Duration::from_millis(20);

/// An answer with nothing left open.
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) thoughts: String,
    pub(crate) calls: Vec<ScriptedCall>,
    pub(crate) usage: (u64, u64),
    pub(crate) finish_reason: Option<String>,
}

impl Said {
    fn of(asked: &Asked, answer: &Answer) -> Self {
        let mut calls = answer.calls.clone();
        let json = answer.json.as_ref().map(ToString::to_string);
        let text = match answer.text.clone().or(json) {
            Some(text) => text,
            None if !calls.is_empty() => String::new(),
            None => match usual_call(asked) {
                Some(call) => {
                    calls.push(call);
                    String::new()
                }
                None => usual_text(asked),
            },
        };
        let words = |text: &str| text.split_whitespace().count() as u64;
        let usage = answer.usage.unwrap_or((words(&asked.last_said) + 1, words(&text) + 1));
        let finish_reason = answer.finish_reason.clone();
        Self { text, thoughts: answer.thoughts.clone(), calls, usage, finish_reason }
    }
}

/// The tool that must be called, with arguments that fit.
fn usual_call(asked: &Asked) -> Option<ScriptedCall> {
    let forced = asked.forced.as_ref()?;
    let fits = |(name, _): &&(String, Json)| forced.is_empty() || name == forced;
    // what is added for the form of an answer stands last
    let (name, schema) = asked.tools.iter().rev().find(fits)?;
    Some(ScriptedCall { name: name.clone(), arguments: sample(schema).to_string() })
}

/// What fits the schema that is wanted, or what the user said.
fn usual_text(asked: &Asked) -> String {
    match &asked.schema {
        Some(schema) => sample(schema).to_string(),
        None if asked.wants_json => json!({"text": asked.last_said}).to_string(),
        None => asked.last_said.clone(),
    }
}

/// A text in pieces.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(PIECE).map(|piece| piece.iter().collect()).collect()
}

/// Nobody is there.
pub(crate) fn nowhere(path: &str) -> Response<Body> {
    let body = json!({"error": {"message": format!("nothing answers at {path}")}});
    whole(404, &body.to_string())
}

/// The response to a call.
pub(crate) fn respond(asked: &Asked, answer: &Answer, mut call: UnderWay) -> Response<Body> {
    if let Some(status) = answer.status {
        let body = answer.raw.clone().unwrap_or_else(|| refusal(asked, answer, status).to_string());
        let mut response = whole(status, &body);
        if let Some(after) = answer.retry_after.as_ref().and_then(|after| after.parse().ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        call.done();
        return response;
    }
    if asked.want == Want::Chat || asked.want == Want::Completion {
        let said = Said::of(asked, answer);
        if asked.streams {
            return streamed(asked, answer, &said, call);
        }
        let body = match asked.protocol {
            Protocol::OpenAi => openai::whole(asked, &said),
            Protocol::Anthropic => anthropic::whole(asked, &said),
            Protocol::Gemini => gemini::whole(&said),
        };
        return at_once(answer, &body, call);
    }
    let body = match (asked.protocol, asked.want) {
        (Protocol::Gemini, _) => gemini::vectors(asked),
        (_, Want::Rerank) => openai::ranking(asked),
        (_, _) => openai::vectors(asked),
    };
    at_once(answer, &body, call)
}

fn at_once(answer: &Answer, body: &Json, mut call: UnderWay) -> Response<Body> {
    let text = answer.raw.clone().unwrap_or_else(|| body.to_string());
    call.done();
    if answer.cut_after.is_none() {
        return whole(200, &text);
    }
    let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
    let parts = [Ok(half), Err(std::io::Error::other("cut"))];
    response(200, "application/json", Body::from_stream(stream::iter(parts)))
}

fn whole(status: u16, text: &str) -> Response<Body> {
    response(status, "application/json", Body::from(text.to_owned()))
}

fn response(status: u16, kind: &str, body: Body) -> Response<Body> {
    let made = Response::builder().status(status).header(header::CONTENT_TYPE, kind).body(body);
    made.unwrap_or_default()
}

fn refusal(asked: &Asked, answer: &Answer, status: u16) -> Json {
    let code = answer.code.as_deref();
    let message = format!("the script says {status}");
    match asked.protocol {
        Protocol::OpenAi => json!({"error": {"message": message, "code": code, "type": code}}),
        Protocol::Anthropic => {
            let usual = match status {
                429 => "rate_limit_error",
                529 => "overloaded_error",
                _ => "api_error",
            };
            let kind = code.unwrap_or(usual);
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
        Protocol::Gemini => {
            let usual = if status == 429 { "RESOURCE_EXHAUSTED" } else { "INTERNAL" };
            let word = code.unwrap_or(usual);
            json!({"error": {"code": status, "message": message, "status": word}})
        }
    }
}

fn streamed(asked: &Asked, answer: &Answer, said: &Said, call: UnderWay) -> Response<Body> {
    let mut frames = match asked.protocol {
        Protocol::OpenAi => openai::frames(asked, said),
        Protocol::Anthropic => anthropic::frames(asked, said),
        Protocol::Gemini => gemini::frames(said),
    };
    if let Some(place) = answer.error_after {
        frames.truncate(place);
        let error = refusal(asked, answer, 500);
        let event = if asked.protocol == Protocol::Anthropic { "event: error\n" } else { "" };
        frames.push(format!("{event}data: {error}\n\n"));
    }
    if let Some(raw) = &answer.raw {
        frames = vec![raw.clone()];
    }
    let mut parts: Vec<Result<Bytes, std::io::Error>> =
        frames.into_iter().map(|frame| Ok(Bytes::from(frame))).collect();
    if let Some(place) = answer.cut_after {
        parts.truncate(place);
        parts.push(Err(std::io::Error::other("cut")));
    }
    let pause = Duration::from_millis(answer.piece_delay_ms);
    let last = parts.len();
    // the call is held until its last piece went out
    let body = stream::unfold(
        (parts.into_iter(), call, 0),
        move |(mut parts, mut call, place)| async move {
            let part = parts.next()?;
            if place > 0 && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            if part.is_err() {
                // what was said before goes out before the connection breaks
                tokio::time::sleep(FLUSH).await;
            }
            if place + 1 == last {
                call.done();
            }
            Some((part, (parts, call, place + 1)))
        },
    );
    response(200, "text/event-stream", Body::from_stream(body.boxed()))
}
