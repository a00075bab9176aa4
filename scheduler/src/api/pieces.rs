//! Contents as answers: whole or a range, a piece at a time, so that a large one takes no more
//! memory than a small one, and whoever reads slowly holds nothing but a piece.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use flowmill_infra::payloads::{Digest, Owner, PayloadError, Payloads};
use futures::stream::unfold;

use super::problem::{Code, Problem};

/// The most bytes of a piece.
pub(super) const PIECE: u64 = 256 << 10;

/// A payload, as it is handed out.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) payloads: Arc<dyn Payloads>,
    pub(super) owner: Owner,
    pub(super) digest: Digest,
}

/// What is asked of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// The caller has it already.
    Nothing,
    /// The range lies beyond its end.
    Beyond,
}

impl Content {
    /// How large it is.
    pub(super) async fn total(&self) -> Result<u64, Problem> {
        let asked = self.payloads.get_range(&self.owner, self.digest, 0..0).await;
        asked.map(|part| part.total).map_err(Problem::from)
    }

    /// Some bytes of it.
    pub(super) async fn piece(&self, range: Range<u64>) -> Result<Vec<u8>, PayloadError> {
        let part = self.payloads.get_range(&self.owner, self.digest, range).await?;
        Ok(part.bytes)
    }

    /// What a request with these headers gets.
    pub(super) async fn answer(self, headers: &HeaderMap, kind: &str) -> Result<Response, Problem> {
        let total = self.total().await?;
        let tag = format!("\"{}\"", self.digest);
        let (status, range) = match asked(headers, &tag, total) {
            Asked::Whole => (StatusCode::OK, 0..total),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Asked::Nothing => (StatusCode::NOT_MODIFIED, 0..0),
            Asked::Beyond => return Ok(beyond(total)),
        };
        let mut told = vec![
            (header::ETAG, tag),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
            // it never changes, and is only for whoever has the key
            (header::CACHE_CONTROL, "private, max-age=86400, immutable".to_owned()),
        ];
        if status != StatusCode::NOT_MODIFIED {
            told.push((header::CONTENT_TYPE, kind.to_owned()));
            told.push((header::CONTENT_LENGTH, (range.end - range.start).to_string()));
            told.push((header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()));
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let Range { start, end } = range;
            let place = format!("bytes {start}-{}/{total}", end.saturating_sub(1));
            told.push((header::CONTENT_RANGE, place));
        }
        let mut response = Response::new(self.body(range));
        *response.status_mut() = status;
        for (name, value) in told {
            insert(&mut response, name, &value);
        }
        Ok(response)
    }

    /// Reads a piece when the last one was taken.
    fn body(self, range: Range<u64>) -> Body {
        Body::from_stream(unfold((self, range), |(content, left)| async move {
            if left.is_empty() {
                return None;
            }
            let end = left.end.min(left.start.saturating_add(PIECE));
            let piece = content.piece(left.start..end).await.map_err(io::Error::other);
            let wanted = end - left.start;
            let piece = piece.and_then(|bytes| {
                let is_whole = bytes.len() as u64 == wanted;
                is_whole.then(|| Bytes::from(bytes)).ok_or(io::ErrorKind::UnexpectedEof.into())
            });
            if let Err(error) = &piece {
                // the caller sees that the connection breaks
                tracing::warn!(digest = %content.digest, %error, "a content was cut off");
            }
            // after an error nothing more is asked for
            let left = if piece.is_ok() { end..left.end } else { 0..0 };
            Some((piece, (content, left)))
        }))
    }
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            response.headers_mut().insert(name, value);
        }
        Err(error) => tracing::warn!(header = %name, %error, "a header is left out"),
    }
}

fn beyond(total: u64) -> Response {
    let detail = format!("there are {total} bytes, and none in this range");
    let mut response = Problem::new(Code::RangeNotSatisfiable, detail).into_response();
    insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{total}"));
    response
}

/// What a caller wants of a content with this tag (RFC 9110, 13.2.2).
fn asked(headers: &HeaderMap, tag: &str, total: u64) -> Asked {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_ours = |given: &str| given.trim().trim_start_matches("W/") == tag;
    if let Some(known) = text(header::IF_NONE_MATCH)
        && (known.trim() == "*" || known.split(',').any(is_ours))
    {
        return Asked::Nothing;
    }
    let Some(range) = text(header::RANGE) else { return Asked::Whole };
    // a part only fits to the part that the caller has if that is of the same content
    if text(header::IF_RANGE).is_some_and(|given| given.trim() != tag) {
        return Asked::Whole;
    }
    part(range, total)
}

/// One range of bytes. Several, and what is none, may be passed over: then it is the whole.
fn part(range: &str, total: u64) -> Asked {
    let Some(spec) = range.trim().strip_prefix("bytes=") else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    // a number that is too large lies beyond everything
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first > last => Asked::Whole,
        (Some(first), _) if first >= total && (last.is_empty() || number(last).is_some()) => {
            Asked::Beyond
        }
        (Some(first), Some(last)) => Asked::Part(first..last.saturating_add(1).min(total)),
        (Some(first), None) if last.is_empty() => Asked::Part(first..total),
        (None, Some(0)) if first.is_empty() => Asked::Beyond,
        (None, Some(_)) if first.is_empty() && total == 0 => Asked::Beyond,
        (None, Some(count)) if first.is_empty() => Asked::Part(total.saturating_sub(count)..total),
        _ => Asked::Whole,
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Lost { digest } => {
                Self::new(Code::PayloadNotFound, format!("there is no payload {digest} there"))
            }
            PayloadError::Damaged { .. } => {
                tracing::error!(%error, "a request failed");
                Self::new(Code::Internal, error.to_string())
            }
            PayloadError::Full(_) => {
                tracing::warn!(%error, "a request is refused for now");
                Self::new(
                    Code::Unavailable,
                    "there is no room left where large values and files lie",
                )
            }
            PayloadError::Unavailable(_) => {
                tracing::warn!(%error, "a request is refused for now");
                Self::new(Code::Unavailable, "payloads cannot be reached; try again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_others_are_passed_over() {
        for (range, wanted) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-4", Asked::Part(2..5)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=9-99999999999999999999", Asked::Part(9..10)),
            ("bytes=10-", Asked::Beyond),
            ("bytes=99999999999999999999-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=4-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(part(range, 10), wanted, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Asked::Beyond);
        assert_eq!(part("bytes=-1", 0), Asked::Beyond);
    }

    #[test]
    fn what_a_caller_has_is_not_sent_again() {
        let asked = |pairs: &[(HeaderName, &'static str)]| {
            let headers = pairs.iter().cloned();
            let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
            asked(&headers.collect(), "\"d\"", 10)
        };
        let range = (header::RANGE, "bytes=1-2");
        assert_eq!(asked(&[]), Asked::Whole);
        assert_eq!(asked(&[(header::IF_NONE_MATCH, "\"c\", W/\"d\"")]), Asked::Nothing);
        assert_eq!(asked(&[(header::IF_NONE_MATCH, "*"), range.clone()]), Asked::Nothing);
        assert_eq!(asked(&[(header::IF_NONE_MATCH, "\"c\""), range.clone()]), Asked::Part(1..3));
        assert_eq!(asked(&[(header::IF_RANGE, "\"d\""), range.clone()]), Asked::Part(1..3));
        assert_eq!(asked(&[(header::IF_RANGE, "\"c\""), range.clone()]), Asked::Whole);
        assert_eq!(asked(&[(header::IF_RANGE, "W/\"d\""), range]), Asked::Whole);
    }
}
