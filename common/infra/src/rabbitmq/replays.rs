//! Puts dead letters back on the queues they came from.

use super::Settings;
use super::headers;
use super::link::{Care, Fate, Link, Outgoing};
use crate::broker::Closed;
use crate::dead_letters::{DeadLetter, PutBack};

/// A publisher of letters that go back.
#[derive(Clone, Debug)]
pub struct RabbitReplays {
    link: Link,
}

impl RabbitReplays {
    pub(super) fn start(settings: &Settings) -> Self {
        Self { link: Link::start(settings, "replays") }
    }
}

impl PutBack for RabbitReplays {
    async fn put_back(&self, letter: &DeadLetter) -> Result<bool, Closed> {
        let Some(origin) = &letter.origin else { return Ok(false) };
        let properties = headers::described_by(&letter.properties)
            .with_headers(headers::restored(&letter.headers))
            .with_delivery_mode(2);
        let outgoing = Outgoing {
            exchange: "".into(),
            key: (&**origin).into(),
            properties,
            body: letter.body.clone(),
            care: Care::OrUnroutable,
        };
        let fate = self.link.hand(outgoing).await?.fate().await?;
        Ok(fate == Fate::Stored)
    }
}
