//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over id, time and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowmill_engine::time::Time;
use flowmill_engine::value::Name;
use flowmill_infra::webhooks::Secret;
use ring::hmac::{HMAC_SHA256, Key, sign as hmac};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What secrets begin with.
const PREFIX: &str = "whsec_";

/// Bytes of a new secret.
const NEW_BYTES: usize = 32;

/// Bytes that a secret may have: fewer are guessed.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(super) struct NoRandomness;

/// A new secret.
pub(super) fn generate() -> Result<Name, NoRandomness> {
    let mut bytes = [0; NEW_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(format!("{PREFIX}{}", BASE64.encode(bytes)).into())
}

/// A number that nobody foresees; 0 where the system has none: it only spreads tries.
pub(super) fn luck() -> u8 {
    let mut bytes = [0];
    // without one, tries are less spread
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes[0]
}

/// Why a text is no secret, a fragment.
pub fn objection(secret: &str) -> Option<String> {
    let Some(bytes) = bytes(secret) else {
        return Some(format!("it must be {PREFIX} and base64"));
    };
    let (least, most) = BYTES.into_inner();
    let fits = (least..=most).contains(&bytes.len());
    (!fits).then(|| format!("it must stand for {least} to {most} bytes, not {}", bytes.len()))
}

fn bytes(secret: &str) -> Option<Vec<u8>> {
    BASE64.decode(secret.strip_prefix(PREFIX)?).ok()
}

/// `webhook-signature`: one for each secret that signs now, with blanks between them. None when none
/// does.
pub(super) fn signatures(secrets: &[Secret], id: &str, now: Time, body: &str) -> Option<String> {
    let seconds = seconds(now);
    let live = secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
    let signed: Vec<String> =
        live.filter_map(|secret| sign(&secret.text, id, seconds, body)).collect();
    (!signed.is_empty()).then(|| signed.join(" "))
}

/// `webhook-timestamp`.
pub(super) fn seconds(now: Time) -> u64 {
    now.0 / 1_000_000
}

fn sign(secret: &str, id: &str, seconds: u64, body: &str) -> Option<String> {
    let key = Key::new(HMAC_SHA256, &bytes(secret)?);
    let signed = hmac(&key, format!("{id}.{seconds}.{body}").as_bytes());
    Some(format!("v1,{}", BASE64.encode(signed.as_ref())))
}

#[cfg(test)]
mod tests {
    use standardwebhooks::Webhook;

    use super::*;

    fn secret(text: &str, until: Option<u64>) -> Secret {
        Secret { text: text.into(), until: until.map(Time) }
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_known_example_is_signed_as_it_should() {
        let secrets = [secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None)];
        let signed = signatures(
            &secrets,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Time(1_614_265_330_000_000),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_public_library_takes_what_is_signed_with_any_live_secret() {
        let (old, new) = (generate().unwrap(), generate().unwrap());
        assert_ne!(old, new);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Time(u64::try_from(now.as_micros()).unwrap());
        let body = "{\"text\":\"\u{e9}\u{1F600}\"}";
        let secrets = [secret(&new, None), secret(&old, Some(now.0 + 1))];
        let sent = |secrets: &[Secret]| {
            let signed = signatures(secrets, "msg_1", now, body)?;
            let mut headers = standardwebhooks_headers(now);
            headers.insert("webhook-signature", signed.parse().unwrap());
            Some(headers)
        };
        let takes = |secret: &str, headers: &axum::http::HeaderMap| {
            Webhook::new(secret).unwrap().verify(body.as_bytes(), headers).is_ok()
        };
        let headers = sent(&secrets).unwrap();
        assert!(takes(&new, &headers) && takes(&old, &headers));
        assert!(!takes(&generate().unwrap(), &headers));
        let later = [secret(&new, None), secret(&old, Some(now.0))];
        let headers = sent(&later).unwrap();
        assert!(takes(&new, &headers) && !takes(&old, &headers), "the old one is over");
        assert!(sent(&[secret(&old, Some(1))]).is_none() && sent(&[]).is_none());
    }

    fn standardwebhooks_headers(now: Time) -> axum::http::HeaderMap {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("webhook-timestamp", seconds(now).to_string().parse().unwrap());
        headers
    }

    #[test]
    fn what_is_no_secret_is_told() {
        assert_eq!(objection(&generate().unwrap()), None);
        assert_eq!(objection("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
        for (text, why) in [
            ("", "whsec_ and base64"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_ and base64"),
            ("whsec_no base64", "whsec_ and base64"),
            ("whsec_AAAA", "24 to 64 bytes, not 3"),
        ] {
            assert!(objection(text).unwrap().contains(why), "{text}");
        }
    }
}
