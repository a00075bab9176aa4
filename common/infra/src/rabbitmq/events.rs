//! Announces ends of runs to whoever listens: a topic exchange, on which each announcement has its
//! status in its key.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use super::Settings;
use super::headers::RUN;
use super::link::{Care, Link, Outgoing};
use super::names::Names;
use crate::announcements::{Announcement, Announcer};
use crate::broker::Closed;

/// What an announcement says it is.
const ENDED: &str = "flowmill.run.ended.v1";

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
        let Announcement { run, status, body } = announcement;
        let mut headers = FieldTable::default();
        headers.insert(RUN.into(), AMQPValue::LongString((&*run).into()));
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_type(ENDED.into())
            // the same whenever this end is announced, so that whoever listens can tell
            .with_message_id(format!("{run}.ended").into())
            .with_headers(headers);
        let key = format!("run.{}", status.name()).into();
        // nobody has to listen
        let care = Care::ToWhomever;
        let outgoing = Outgoing { exchange: self.names.events(), key, properties, body, care };
        self.link.hand(outgoing).await?.fate().await.map(drop)
    }
}
