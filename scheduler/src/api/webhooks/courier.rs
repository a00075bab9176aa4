//! One try to deliver: signed, bounded in time and size, and never further than the address that
//! was checked.

use std::time::{Duration, Instant};

use flowmill_engine::value::Name;
use flowmill_infra::clock::{Clock as _, SystemClock};
use flowmill_infra::metrics::Metrics;
use flowmill_infra::traces;
use flowmill_infra::webhooks::{Answer, Delivery, Endpoint, Format, Secret};
use flowmill_nodes::outbound::{Call, Class, Client, Denied, SendError};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, Url};

use super::meters::Meters;
use super::{WebhookSettings, signature};

/// Bytes of an answer that are read.
const READ: usize = 4096;

/// Bytes of it that are kept.
const KEPT: usize = 1024;

/// The status by which an endpoint says that it is there no more.
pub(super) const GONE: u16 = 410;

/// Sends what is given to it.
#[derive(Debug)]
pub struct Courier {
    client: Client,
    settings: WebhookSettings,
    clock: SystemClock,
    meters: Meters,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// How long the endpoint wishes to be left alone.
    pub(super) wish: Option<Duration>,
}

impl Courier {
    /// One with these settings.
    ///
    /// # Errors
    /// When the way out cannot be used.
    pub fn new(settings: WebhookSettings) -> Result<Self, SendError> {
        let client = Client::new(settings.reach.clone())?;
        Ok(Self { client, settings, clock: SystemClock::new(), meters: Meters::default() })
    }

    /// The same; what it sends is counted in these.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { meters: Meters::of(metrics), ..self }
    }

    pub(super) fn meters(&self) -> &Meters {
        &self.meters
    }

    pub(super) fn settings(&self) -> &WebhookSettings {
        &self.settings
    }

    /// Sends a body to an endpoint.
    pub(super) async fn deliver(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        (body, trace): (&Name, Option<&str>),
    ) -> Outcome {
        let begun = Instant::now();
        let told = trace.and_then(|trace| traces::told(&delivery.subject, trace, &delivery.event));
        let (place, mut span) = told.unzip();
        let sent = match self.call(endpoint, delivery, body, place.as_deref()) {
            Ok(call) => self.send(call).await,
            Err(why) => Err(why),
        };
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (answer, wish): (Answer, _) = match sent {
            Ok(response) => {
                let status = response.status();
                let wish = wish(&response);
                let left = self.settings.timeout.saturating_sub(begun.elapsed());
                let text = beginning(response, left).await.into();
                let error = (!status.is_success()).then(|| refusal(status.as_u16()).into());
                (Answer { status: Some(status.as_u16()), text, error, elapsed_ms }, wish)
            }
            Err(why) => (Answer { error: Some(why.into()), elapsed_ms, ..Answer::default() }, None),
        };
        if let (Some(span), Some(error)) = (&mut span, &answer.error) {
            span.failed(error);
        }
        Outcome { answer, wish }
    }

    async fn send(&self, call: Call) -> Result<Response, String> {
        let limit = self.settings.timeout;
        match tokio::time::timeout(limit, self.client.send(call)).await {
            Ok(sent) => sent.map_err(|error| self.unsent(error)),
            Err(_) => Err(format!("it did not answer within {limit:?}")),
        }
    }

    fn unsent(&self, error: SendError) -> String {
        match error {
            SendError::Denied(Denied { host, address, class }) => {
                let [any, private] = self.settings.allowed_by;
                let is_private = matches!(
                    class,
                    Class::Private | Class::Loopback | Class::LinkLocal | Class::Shared
                );
                let or = if is_private { format!(" or {private}") } else { String::new() };
                format!(
                    "{host} leads to {address}, {class}, where nothing is sent: {any}{or} would \
                     allow it"
                )
            }
            SendError::Unusable(_) | SendError::Failed(_) => error.to_string(),
        }
    }

    fn call(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        body: &Name,
        place: Option<&str>,
    ) -> Result<Call, String> {
        let own = endpoint.secrets.as_ref().map_err(ToString::to_string)?;
        let common = self.settings.url_secret.iter();
        let common: Vec<Secret> =
            common.map(|text| Secret { text: text.clone(), until: None }).collect();
        let secrets = if own.is_empty() { &common } else { own };
        let now = self.clock.now();
        let signed = signature::signatures(secrets, &delivery.message, now, body);
        let signed = signed.ok_or("there is no secret to sign it with")?;
        let kind = match endpoint.format {
            Format::Standard => "application/json",
            Format::CloudEvents => "application/cloudevents+json",
        };
        let seconds = signature::seconds(now).to_string();
        let mut headers = HeaderMap::new();
        let place = place.map(|place| ("traceparent", place));
        for (name, value) in [
            ("content-type", kind),
            ("user-agent", concat!("flowmill/", env!("CARGO_PKG_VERSION"))),
            ("webhook-id", &delivery.message),
            ("webhook-timestamp", &seconds),
            ("webhook-signature", &signed),
        ]
        .into_iter()
        .chain(place)
        {
            let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(Call {
            method: Method::POST,
            url: Url::parse(&endpoint.url).map_err(|error| error.to_string())?,
            headers,
            body: body.as_bytes().to_vec(),
            connect: self.settings.timeout,
            verify: true,
        })
    }
}

/// What is said of a status that does not count.
fn refusal(status: u16) -> String {
    match status {
        300..400 => format!("it answered {status}: redirects are not followed"),
        GONE => format!("it answered {GONE}: it is there no more"),
        _ => format!("it answered {status}"),
    }
}

/// How long a server that is busy asks to be left alone, in seconds; a date means nothing without
/// the server's clock.
fn wish(response: &Response) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let is_busy = matches!(response.status().as_u16(), 429 | 503);
    asked.trim().parse().ok().filter(|_| is_busy).map(Duration::from_secs)
}

/// The beginning of an answer as text. Whatever comes of it, the status counts.
async fn beginning(mut response: Response, limit: Duration) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            bytes.extend_from_slice(&chunk[..chunk.len().min(READ - bytes.len())]);
            if bytes.len() >= READ {
                break;
            }
        }
    };
    // what came in time is there
    let _ = tokio::time::timeout(limit, reading).await;
    let text = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
    text[..text.floor_char_boundary(KEPT)].to_owned()
}
