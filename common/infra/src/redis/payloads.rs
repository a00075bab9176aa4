//! A cache in front of payloads, for the workers that read a value soon after it was put.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ::redis::{Value, pipe};

use crate::payloads::PayloadCache;

use super::{Redis, millis};

/// How long a payload stays: what is read later comes from where it lies.
const KEPT: Duration = Duration::from_mins(10);

impl PayloadCache for Redis {
    fn get<'a>(
        &'a self,
        key: &'a str,
    ) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + 'a>> {
        Box::pin(async move {
            let mut question = pipe();
            question.cmd("GET").arg(self.0.key("value", key));
            let answers = self.0.ask::<Option<Vec<u8>>>(&mut question).await.ok()?;
            answers.into_iter().next()??
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: &'a [u8],
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let mut order = pipe();
            order.cmd("SET").arg(self.0.key("value", key)).arg(bytes);
            order.arg("PX").arg(millis(KEPT));
            // a payload without a copy is read where it lies
            let _ = self.0.ask::<Value>(&mut order).await;
        })
    }
}
