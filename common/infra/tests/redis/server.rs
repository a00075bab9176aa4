//! The Redis servers that the tests use: one that all share, with keys of their own for each, and
//! servers of their own for tests that stop them.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use flowmill_infra::redis::{Redis, Settings};
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, cmd};

fn server() -> String {
    let own = std::env::var("FLOWMILL_TEST_REDIS");
    own.unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// A connection that knows nothing of flowmill.
pub(crate) async fn bare(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).unwrap();
    match client.get_multiplexed_async_connection().await {
        Ok(connection) => connection,
        Err(error) => panic!(
            "these tests need a Redis server, and {} gives: {error}. `./dev setup` starts one; \
             FLOWMILL_TEST_REDIS names another.",
            url.rsplit('@').next().unwrap()
        ),
    }
}

/// Keys at a server that end with this value.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) settings: Settings,
}

impl Keys {
    /// At the server that all share.
    pub(crate) async fn new() -> Self {
        drop(bare(&server()).await);
        Self::at(server())
    }

    pub(crate) fn at(url: String) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let prefix = format!("flowmill-test-{}-{made}-{}", std::process::id(), since.as_nanos());
        // the machine may be busy with other tests
        let patience = Duration::from_secs(5);
        Self { settings: Settings { prefix, patience, ..Settings::new(url) } }
    }

    pub(crate) fn redis(&self) -> Redis {
        Redis::new(&self.settings).unwrap()
    }

    /// Those that are there.
    pub(crate) async fn all(&self) -> Vec<String> {
        let mut connection = bare(&self.settings.url).await;
        let (mut cursor, mut all) = (0_u64, Vec::new());
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}:*", self.settings.prefix));
            let (next, found): (u64, Vec<String>) =
                scan.arg("COUNT").arg(1000).query_async(&mut connection).await.unwrap();
            all.extend(found);
            cursor = next;
            if cursor == 0 {
                return all;
            }
        }
    }

    /// Asks behind the adapters' back.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut question = cmd(words[0]);
        question.arg(&words[1..]);
        question.query_async(&mut bare(&self.settings.url).await).await.unwrap()
    }

    async fn remove(&self) {
        for key in self.all().await {
            self.ask::<()>(&["DEL", &key]).await;
        }
    }
}

/// What tests leave behind at the shared server is removed; a server of their own ends with them.
impl Drop for Keys {
    fn drop(&mut self) {
        if self.settings.url != server() {
            return;
        }
        let keys = Self { settings: Settings { url: server(), ..self.settings.clone() } };
        let removing = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(keys.remove());
            std::mem::forget(keys);
        });
        assert!(removing.join().is_ok() || std::thread::panicking(), "keys are left behind");
    }
}

/// A server of a test's own. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    /// A port and a folder; nothing listens yet.
    pub(crate) fn planned() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, folder: tempfile::tempdir().unwrap(), process: None }
    }

    pub(crate) async fn running() -> Self {
        let mut server = Self::planned();
        server.start().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, empty.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(self.port.to_string()).arg("--dir").arg(self.folder.path());
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let client = Client::open(self.url()).unwrap();
        for _ in 0..400 {
            if client.get_multiplexed_async_connection().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("a Redis server on port {} does not start", self.port);
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It keeps its connections and answers nothing, or goes on.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
