//! A worker's publisher of answers.

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::run::Completion;
use lapin::BasicProperties;
use lapin::types::ShortString;

use super::Settings;
use super::contact::Pressure;
use super::headers::{of_delivery, of_waits};
use super::link::{Care, Link, Outgoing};
use super::names::Names;
use crate::broker::{Closed, CompletionPublisher};
use crate::message::{Beat, Delivery, Shard};
use crate::waits;
use crate::wire::Transit;

/// When a beat that nobody took is worth nothing any more, in milliseconds.
const BEAT_EXPIRES_MS: &str = "15000";

/// A worker's publisher of answers. Clones share one connection.
#[derive(Clone, Debug)]
pub struct RabbitCompletions {
    link: Link,
    names: Names,
    transit: Transit,
}

impl RabbitCompletions {
    /// `role` says in the server's list what the connection is for.
    pub(super) fn start(settings: &Settings, role: &'static str) -> Self {
        let (link, transit) = (Link::start(settings, role), settings.transit.clone());
        Self { link, names: settings.names(), transit }
    }

    /// Whether the server holds back what is published here.
    pub fn pressure(&self) -> Pressure {
        self.link.pressure()
    }
}

impl CompletionPublisher for RabbitCompletions {
    async fn answer(&self, shard: Shard, delivery: Delivery) -> Result<(), Closed> {
        let headers = of_delivery(&delivery);
        // a shard that nobody ever owned has no inbox yet; its owner looks by itself
        let care = match delivery {
            Delivery::Poke { .. } => Care::ToWhomever,
            _ => Care::UntilRouted,
        };
        let Some(body) = bytes_or_failure(&self.transit, delivery).await else { return Ok(()) };
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let outgoing = outgoing(self.names.results(shard), properties, body, care);
        self.link.hand(outgoing).await?.fate().await.map(drop)
    }

    async fn beat(&self, beat: Beat) -> Result<(), Closed> {
        let shards: Vec<Shard> = beat.held.iter().map(|(shard, _)| *shard).collect();
        let headers = of_waits(&waits::write(&beat.waits));
        let Some(body) = bytes_or_failure(&self.transit, Delivery::Beat(beat)).await else {
            return Ok(());
        };
        for shard in shards {
            let properties = BasicProperties::default()
                .with_delivery_mode(1)
                .with_expiration(BEAT_EXPIRES_MS.into())
                .with_headers(headers.clone());
            let key = self.names.results(shard);
            self.link.toss(outgoing(key, properties, body.clone(), Care::Once))?;
        }
        Ok(())
    }
}

fn outgoing(key: ShortString, properties: BasicProperties, body: Vec<u8>, care: Care) -> Outgoing {
    Outgoing { exchange: "".into(), key, properties, body, care }
}

/// What cannot be sent of an answer becomes a failure: done again, it would be no smaller.
async fn bytes_or_failure(transit: &Transit, delivery: Delivery) -> Option<Vec<u8>> {
    let error = match transit.write_delivery(&delivery).await {
        Ok(bytes) => return Some(bytes),
        Err(error) => error,
    };
    tracing::error!(%error, "an answer cannot be sent");
    let Delivery::Completed { run, mut completion } = delivery else { return None };
    for outcome in &mut completion.outcomes {
        let completion = Completion::of(completion.dispatch, outcome.clone());
        let alone = Delivery::Completed { run: run.clone(), completion };
        if let Err(error) = transit.write_delivery(&alone).await {
            let error = NodeError::escaped(format!("failed to {error}"));
            outcome.outcome = Err(error.with_class(ErrorClass::Invalid));
        }
    }
    transit.write_delivery(&Delivery::Completed { run, completion }).await.ok()
}
