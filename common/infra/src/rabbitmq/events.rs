//! Announces ends of runs and batches to whoever listens: a topic exchange, on which each announcement
//! has its status in its key.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::Settings;
use super::headers::{ENDED_BATCH, RUN};
use super::link::{Care, Link, Outgoing};
use super::names::Names;
use crate::announcements::{Announcement, Announcer, Subject};
use crate::broker::Closed;

/// What an announcement of a run says it is.
const RUN_ENDED: &str = "flowmill.run.ended.v1";

/// What an announcement of a batch says it is.
const BATCH_ENDED: &str = "flowmill.batch.ended.v1";

/// A publisher of announcements.
#[derive(Clone, Debug)]
pub struct RabbitEvents {
    link: Link,
    names: Names,
}

impl RabbitEvents {
    pub(super) fn start(settings: &Settings) -> Self {
        Self { link: Link::start(settings, "events"), names: settings.names() }
    }
}

impl Announcer for RabbitEvents {
    async fn announce(&self, announcement: Announcement) -> Result<(), Closed> {
        let Announcement { subject, body } = announcement;
        let (kind, header, id, key) = match subject {
            Subject::Run(run, status) => (RUN_ENDED, RUN, run, format!("run.{}", status.name())),
            Subject::Batch(batch, state) => {
                (BATCH_ENDED, ENDED_BATCH, batch, format!("batch.{}", state.name()))
            }
        };
        let mut headers = FieldTable::default();
        headers.insert(header.into(), AMQPValue::LongString((&*id).into()));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_type(kind.into())
            // the same whenever this end is announced, so that whoever listens can tell
            .with_message_id(format!("{id}.ended").into())
            .with_headers(headers);
        // nobody has to listen
        let care = Care::ToWhomever;
        let outgoing =
            Outgoing { exchange: self.names.events(), key: key.into(), properties, body, care };
        self.link.hand(outgoing).await?.fate().await.map(drop)
    }
}
