//! A whole cluster: servers, schedulers and workers, each a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Answer, ask};
use crate::process::{PATIENCE, Process, free_port, until};
use crate::servers::{self, Postgres, Rabbit, Redis};
use crate::way::Way;

/// How many nodes of each class a worker runs at a time.
pub(crate) const SLOTS: usize = 4;

/// Whom nodes ask: models and tools by a services file, everything else through a proxy.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) file: PathBuf,
    pub(crate) proxy: String,
}

/// What a cluster is begun with besides its servers.
#[derive(Clone, Default)]
pub(crate) struct Terms {
    /// Whether the programs reach the broker by ways of the test's own.
    pub(crate) has_ways: bool,
    /// Whom the workers' nodes ask.
    pub(crate) services: Option<Asked>,
    /// Further settings of all programs, as variables of their environment.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The password in the address of the database, which takes any.
    pub(crate) password: &'static str,
}

/// A scheduler or a worker.
pub(crate) struct Program {
    pub(crate) process: Process,
    port: u16,
    /// What is started.
    binary: Arc<Mutex<&'static str>>,
}

impl Program {
    fn new(
        kind: &'static str,
        number: usize,
        urls: &[String; 3],
        (folder, roles): (&Path, &'static str),
        Terms { services, settings: more, .. }: Terms,
    ) -> Self {
        let port = free_port();
        let name = format!("{}-{number}", kind.trim_start_matches("flowmill-"));
        let settings = [
            ("FLOWMILL_NAME", name.clone()),
            ("FLOWMILL_POSTGRES__URL", urls[0].clone()),
            ("FLOWMILL_RABBITMQ__URL", urls[1].clone()),
            ("FLOWMILL_REDIS__URL", urls[2].clone()),
            ("FLOWMILL_HTTP__LISTEN", format!("127.0.0.1:{port}")),
            ("FLOWMILL_SECRETS__KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned()),
        ];
        let slots = SLOTS.to_string();
        let binary = Arc::new(Mutex::new(kind));
        let started = binary.clone();
        let make = move || {
            let mut command = ours(*started.lock().unwrap());
            command.envs(settings.clone()).envs(more.clone());
            if kind == "flowmill-worker" {
                for class in ["LIGHT", "CODE", "HTTP", "LLM"] {
                    command.env(format!("FLOWMILL_SLOTS__{class}"), &slots);
                }
                command.env("FLOWMILL_OUTBOUND__ALLOW_NET", "127.0.0.1");
                if let Some(services) = &services {
                    command.env("FLOWMILL_SERVICES__FILE", &services.file);
                    command.env("FLOWMILL_OUTBOUND__PROXY", &services.proxy);
                }
            } else {
                command.env("FLOWMILL_WEBHOOKS__ALLOW_NET", "127.0.0.1");
                command.env("FLOWMILL_ROLES", roles);
            }
            command
        };
        Self { process: Process::new(&name, folder, make), port, binary }
    }

    /// Another program is started in its place from now on.
    pub(crate) fn replace(&self, by: &'static str) {
        *self.binary.lock().unwrap() = by;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it counts, as text.
    pub(crate) async fn metrics(&self) -> String {
        let answer = ask(self.port, "GET", "/metrics", "", "").await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text
    }

    async fn is_ready(&self) -> bool {
        let answer = ask(self.port, "GET", "/readyz", "", "").await;
        answer.is_some_and(|answer| answer.status == 200)
    }

    pub(crate) async fn ready(&mut self) {
        until(&format!("{} to be ready", self.process.name), async || {
            assert!(self.process.runs(), "{} ended", self.process.name);
            self.is_ready().await
        })
        .await;
    }
}

pub(crate) struct Cluster {
    pub(crate) schedulers: Vec<Program>,
    pub(crate) workers: Vec<Program>,
    pub(crate) postgres: Postgres,
    pub(crate) rabbit: Rabbit,
    pub(crate) redis: Redis,
    /// Between the schedulers and the broker, and between it and the workers.
    pub(crate) ways: Option<[Way; 2]>,
    pub(crate) api: Arc<Api>,
    // removed last
    folder: TempDir,
}

/// The API of a cluster: whichever scheduler answers.
pub(crate) struct Api {
    ports: Vec<u16>,
    /// Who is asked.
    turn: AtomicUsize,
}

/// One of our programs, from where cargo put this test.
pub(crate) fn ours(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{name} is not built: cargo build --workspace --all-targets");
    Command::new(path)
}

impl Cluster {
    pub(crate) async fn start(schedulers: usize, workers: usize) -> Self {
        Self::make(schedulers, workers, Terms::default()).await
    }

    /// The workers' nodes ask these.
    pub(crate) async fn with_services(schedulers: usize, workers: usize, asked: &Asked) -> Self {
        let services = Some(asked.clone());
        Self::make(schedulers, workers, Terms { services, ..Terms::default() }).await
    }

    /// The programs reach the broker by ways of the test's own.
    pub(crate) async fn with_ways(schedulers: usize, workers: usize) -> Self {
        Self::make(schedulers, workers, Terms { has_ways: true, ..Terms::default() }).await
    }

    /// The same by other terms.
    pub(crate) async fn make(schedulers: usize, workers: usize, terms: Terms) -> Self {
        let folder = servers::folder();
        let (postgres, rabbit, redis) = tokio::join!(
            Postgres::start(folder.path()),
            Rabbit::start(folder.path()),
            Redis::start(folder.path()),
        );
        let migrated =
            ours("flowmill").args(["migrate", "--url", &postgres.url()]).output().unwrap();
        let words = String::from_utf8_lossy(&migrated.stderr);
        assert!(migrated.status.success(), "flowmill migrate: {words}");
        let ways = if terms.has_ways {
            Some([Way::to(rabbit.port()).await, Way::to(rabbit.port()).await])
        } else {
            None
        };
        let brokers = match &ways {
            Some(ways) => ways.each_ref().map(Way::url),
            None => [rabbit.url(), rabbit.url()],
        };
        let [schedulers, workers] = {
            let of = [("flowmill-scheduler", schedulers), ("flowmill-worker", workers)];
            let program = |kind, number, broker: &String| {
                let user = match terms.password {
                    "" => "postgres@".to_owned(),
                    password => format!("postgres:{password}@"),
                };
                let database = postgres.url().replacen("postgres@", &user, 1);
                let urls = [database, broker.clone(), redis.url()];
                let place = (folder.path(), "runs,webhooks");
                Program::new(kind, number, &urls, place, terms.clone())
            };
            std::array::from_fn(|role| {
                let (kind, count) = of[role];
                let programs = (0..count).map(|number| program(kind, number, &brokers[role]));
                programs.collect::<Vec<_>>()
            })
        };
        let ports = schedulers.iter().map(|scheduler| scheduler.port).collect();
        let api = Arc::new(Api { ports, turn: AtomicUsize::new(0) });
        let mut this = Self { schedulers, workers, postgres, rabbit, redis, ways, api, folder };
        for program in this.schedulers.iter_mut().chain(&mut this.workers) {
            program.process.start();
        }
        for program in this.schedulers.iter_mut().chain(&mut this.workers) {
            program.ready().await;
        }
        assert!(this.folder.path().exists());
        this
    }
}

impl Cluster {
    /// Where all programs and servers keep and say everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its programs, which do not run, run on over another database.
    pub(crate) async fn move_to(&mut self, database: &str) {
        let urls = [database.to_owned(), self.rabbit.url(), self.redis.url()];
        let make = |kind, old: &[Program]| {
            // they are others, and may say something else in the same folder
            let numbers = old.len()..2 * old.len();
            let place = (self.folder.path(), "runs,webhooks");
            numbers
                .map(|number| Program::new(kind, number, &urls, place, Terms::default()))
                .collect::<Vec<_>>()
        };
        let schedulers = make("flowmill-scheduler", &self.schedulers);
        let workers = make("flowmill-worker", &self.workers);
        (self.schedulers, self.workers) = (schedulers, workers);
        let ports = self.schedulers.iter().map(|scheduler| scheduler.port).collect();
        self.api = Arc::new(Api { ports, turn: AtomicUsize::new(0) });
        for program in self.schedulers.iter_mut().chain(&mut self.workers) {
            program.process.start();
            program.ready().await;
        }
    }

    /// A program that sends webhooks and does nothing else; it was not started.
    pub(crate) fn sender(&self) -> Program {
        // no broker is there for it
        let urls = [self.postgres.url(), "amqp://127.0.0.1:1".to_owned(), self.redis.url()];
        let number = self.schedulers.len();
        let place = (self.folder.path(), "webhooks");
        Program::new("flowmill-scheduler", number, &urls, place, Terms::default())
    }

    /// One scheduler more; it was not started.
    pub(crate) fn stray(&self) -> Program {
        let urls = [self.postgres.url(), self.rabbit.url(), self.redis.url()];
        let number = self.schedulers.len();
        let place = (self.folder.path(), "runs,webhooks");
        Program::new("flowmill-scheduler", number, &urls, place, Terms::default())
    }
}

impl Api {
    /// Of one process at a port.
    pub(crate) fn at(port: u16) -> Self {
        Self { ports: vec![port], turn: AtomicUsize::new(0) }
    }

    /// Whether the first of them is ready.
    pub(crate) async fn is_up(&self) -> bool {
        let answer = ask(self.ports[0], "GET", "/readyz", "", "").await;
        answer.is_some_and(|answer| answer.status == 200)
    }

    /// The port of one scheduler.
    pub(crate) fn port(&self, scheduler: usize) -> u16 {
        self.ports[scheduler]
    }

    /// Asks whichever scheduler answers.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &(impl AsRef<[u8]> + ?Sized),
    ) -> Answer {
        let asking = async {
            loop {
                let turn = self.turn.load(Ordering::Relaxed);
                let port = self.ports[turn % self.ports.len()];
                let asked = ask(port, method, path, headers, body);
                match tokio::time::timeout(Duration::from_secs(5), asked).await {
                    Ok(Some(answer)) if answer.status < 500 => return answer,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
                // another one may be luckier
                self.turn.store(turn + 1, Ordering::Relaxed);
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.unwrap_or_else(|_| panic!("no scheduler answered {method} {path}"))
    }

    /// Makes a document known; its digest.
    pub(crate) async fn push(&self, document: &str) -> String {
        let headers = "content-type: application/yaml\r\n";
        let answer = self.ask("POST", "/api/v1/workflows", headers, document).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Submits a run under a key, again and again until it is accepted; its id.
    pub(crate) async fn submit(&self, workflow: &str, inputs: Value, key: &str) -> String {
        self.submitted(&json!({ "workflow": workflow, "inputs": inputs }), key).await
    }

    /// Says something to a chat; the run's id.
    pub(crate) async fn submit_chat(&self, workflow: &str, query: &str, key: &str) -> String {
        self.submitted(&json!({ "workflow": workflow, "query": query }), key).await
    }

    async fn submitted(&self, body: &Value, key: &str) -> String {
        let headers = format!("content-type: application/json\r\nidempotency-key: {key}\r\n");
        let answer = self.ask("POST", "/api/v1/runs", &headers, &body.to_string()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// A run as it is now.
    pub(crate) async fn run(&self, id: &str) -> Value {
        let answer = self.ask("GET", &format!("/api/v1/runs/{id}"), "", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// A run when it has ended. Of one that does not it is told why.
    pub(crate) async fn end(&self, id: &str) -> Value {
        let ending = async {
            loop {
                let run = self.run(id).await;
                if !matches!(run["status"].as_str(), Some("queued" | "running" | "paused")) {
                    return run;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if let Ok(run) = tokio::time::timeout(PATIENCE, ending).await {
            return run;
        }
        let path = format!("/api/v1/runs/{id}");
        let why = self.ask("GET", &format!("{path}/explain"), "", "").await.body;
        let nodes = self.ask("GET", &format!("{path}/nodes"), "", "").await.body;
        panic!("run {id} does not end: {why}; its nodes: {nodes}")
    }
}
