//! The connection that all requests share, each with little time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::Settings;
use super::breaker::{Breaker, Change};

/// How long connecting may take: longer than a request, which does not wait for all of it.
const CONNECTING: Duration = Duration::from_secs(3);

/// Redis is away, or left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away;

/// A connection, or one that is being made: whoever waits for it drives it, and when he gives up,
/// the next one goes on from there.
type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

pub(super) struct Link {
    /// None: there is no server.
    client: Option<Client>,
    prefix: String,
    patience: Duration,
    breaker: Mutex<Breaker>,
    connection: Mutex<Current>,
}

/// The connection in use; each has its number.
#[derive(Default)]
struct Current {
    number: u64,
    connection: Option<Connecting>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(client: Option<Client>, settings: &Settings) -> Self {
        Self {
            client,
            prefix: settings.prefix.clone(),
            patience: settings.patience,
            breaker: Mutex::new(Breaker::new(settings.pause)),
            connection: Mutex::default(),
        }
    }

    /// A key of ours.
    pub(super) fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    /// How long a request may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Asks several things in one round trip. An answer that cannot be used is None.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        questions: &mut Pipeline,
    ) -> Result<Vec<Option<T>>, Away> {
        let Some(client) = &self.client else { return Err(Away) };
        if !lock(&self.breaker).allows(Instant::now()) {
            return Err(Away);
        }
        let (number, connecting) = self.current(client);
        let asking = async {
            let mut connection = connecting.clone().await?;
            questions.ignore_errors().query_async::<Vec<RedisResult<T>>>(&mut connection).await
        };
        let why = match tokio::time::timeout(self.patience, asking).await {
            Ok(Ok(answers)) => {
                let refusal = answers.iter().find_map(|answer| answer.as_ref().err());
                match refusal {
                    Some(error) if is_unable(error) && answers.iter().all(Result::is_err) => {
                        error.to_string()
                    }
                    refusal => {
                        if let Some(error) = refusal {
                            tracing::debug!(%error, "Redis refused a request");
                        }
                        tell(lock(&self.breaker).succeeded(), "");
                        return Ok(answers.into_iter().map(Result::ok).collect());
                    }
                }
            }
            Ok(Err(error)) => {
                self.discard(number);
                error.to_string()
            }
            Err(_) => {
                // what is still being made is left to the next one
                if connecting.peek().is_some() {
                    self.discard(number);
                }
                format!("no answer within {:?}", self.patience)
            }
        };
        tell(lock(&self.breaker).failed(Instant::now()), &why);
        Err(Away)
    }

    /// Whether the server answers, as far as is known; None: there is none.
    pub(super) fn is_there(&self) -> Option<bool> {
        self.client.as_ref().map(|_| !lock(&self.breaker).is_shut())
    }

    /// Whether there is a server at all.
    pub(super) fn is_absent(&self) -> bool {
        self.client.is_none()
    }

    /// A connection for requests that block.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        match &self.client {
            Some(client) => connect(client).await,
            None => Err((ErrorKind::InvalidClientConfig, "there is no server").into()),
        }
    }

    fn current(&self, client: &Client) -> (u64, Connecting) {
        let mut current = lock(&self.connection);
        if let Some(connection) = &current.connection {
            return (current.number, connection.clone());
        }
        let client = client.clone();
        let connection = async move { connect(&client).await }.boxed().shared();
        current.number += 1;
        current.connection = Some(connection.clone());
        (current.number, connection)
    }

    /// The next request makes a new connection, unless another has seen to that already.
    fn discard(&self, number: u64) {
        let mut current = lock(&self.connection);
        if current.number == number {
            current.connection = None;
        }
    }
}

/// Whether the server could do nothing at all: it has no memory left, may not write, still loads.
/// Other refusals concern what was asked.
fn is_unable(error: &RedisError) -> bool {
    !matches!(error.code(), Some("ERR" | "WRONGTYPE"))
}

/// Said once for each change, not for each request.
fn tell(change: Change, why: &str) {
    match change {
        Change::Left => tracing::warn!(%why, "Redis is away; going on without it"),
        Change::Returned => tracing::info!("Redis is back"),
        Change::None => {}
    }
}

/// The answers' time is whoever asks' to limit.
async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECTING))
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
