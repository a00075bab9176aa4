//! A program as a process, and its place on the servers of this machine. The worker's tests share
//! this file.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use flowmill_infra::{postgres, rabbitmq};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A schema and queues of a test's own; removed when it is dropped.
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("flowmill_program_{name}");
        let place = Self(name);
        place.clear();
        place
    }

    /// With flowmill's tables.
    pub(crate) fn migrated(name: &str) -> Self {
        let place = Self::new(name);
        on_runtime(async {
            let url = postgres::make_schema(&database(), &place.0).await.unwrap();
            postgres::migrate(&url, 2).await.unwrap();
        });
        place
    }

    fn clear(&self) {
        on_runtime(async {
            let removed = postgres::remove_schema(&database(), &self.0).await;
            removed.unwrap_or_else(|error| panic!("{error}; `./dev setup` starts a server"));
            let broker = rabbitmq::Settings {
                prefix: self.0.clone(),
                ..rabbitmq::Settings::new(messages())
            };
            let removed = rabbitmq::remove(&broker, 2).await;
            removed.unwrap_or_else(|error| panic!("{error}; `./dev setup` starts a server"));
        });
    }

    /// The settings that lead here.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let sign = if database().contains('?') { '&' } else { '?' };
        let url = format!("{}{sign}options=-c%20search_path%3D{}", database(), self.0);
        vec![
            ("FLOWMILL_POSTGRES__URL", url),
            ("FLOWMILL_RABBITMQ__URL", messages()),
            ("FLOWMILL_RABBITMQ__PREFIX", self.0.clone()),
            ("FLOWMILL_HTTP__LISTEN", "127.0.0.1:0".to_owned()),
        ]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What became of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn database() -> String {
    std::env::var("FLOWMILL_TEST_POSTGRES").unwrap_or_else(|_| {
        "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable".to_owned()
    })
}

fn messages() -> String {
    std::env::var("FLOWMILL_TEST_RABBITMQ")
        .unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned())
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// The program with no settings but these.
fn command<V: AsRef<str>>(environment: &[(&str, V)], arguments: &[&str]) -> Command {
    let mut command = Command::new(crate::PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FLOWMILL_") {
            command.env_remove(name);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_ref())));
    command.args(arguments);
    command
}

/// Runs the program to its end.
pub(crate) fn program(environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
    let output = command(environment, arguments).output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The program while it runs. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// What it has said.
    said: String,
    at: Option<String>,
}

impl Process {
    pub(crate) fn start(environment: &[(&str, String)]) -> Self {
        let mut child = command(environment, &[]).stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new(), at: None }
    }

    /// Waits until it says something.
    pub(crate) fn until(&mut self, words: &str) {
        let since = Instant::now();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE.saturating_sub(since.elapsed())) else {
                panic!("it never said {words:?}, but:\n{}", self.said);
            };
            self.said.push_str(&line);
            self.said.push('\n');
            if let Some((_, at)) = line.split_once("listening at=") {
                self.at = at.split_whitespace().next().map(str::to_owned);
            }
            if line.contains(words) {
                return;
            }
        }
    }

    /// Status and body of what a path answers.
    pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
        if self.at.is_none() {
            self.until("listening at=");
        }
        let mut stream = TcpStream::connect(self.at.as_ref().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        (status, body.to_owned())
    }

    /// Waits until it is ready, and gives the words in which it says so.
    pub(crate) fn until_ready(&mut self) -> String {
        let since = Instant::now();
        loop {
            let (status, body) = self.get("/readyz");
            if status == 200 {
                return body;
            }
            assert!(since.elapsed() < PATIENCE, "{body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends it a signal, such as TERM.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < PATIENCE, "it stays");
            std::thread::sleep(Duration::from_millis(20));
        };
        let rest: Vec<String> = self.lines.iter().collect();
        let err = format!("{}{}", self.said, rest.join("\n"));
        Ended { code: status.code().unwrap_or(-1), out: String::new(), err }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // it may have ended by itself
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
