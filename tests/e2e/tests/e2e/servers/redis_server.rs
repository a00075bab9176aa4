//! A Redis server that keeps nothing.

use std::path::Path;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::program;
use crate::process::{Process, free_port, until};

pub(crate) struct Redis {
    port: u16,
    process: Process,
}

impl Redis {
    pub(crate) async fn start(folder: &Path) -> Self {
        let server = program("/usr/bin/redis-server /usr/local/bin/redis-server");
        let (port, place) = (free_port(), folder.to_owned());
        let serve = move || {
            let mut command = Command::new(&server);
            command.current_dir(&place);
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--save", "", "--appendonly", "no"]);
            command
        };
        let mut this = Self { port, process: Process::new("redis", folder, serve) };
        this.go_on().await;
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn crash(&mut self) {
        self.process.kill();
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.runs()
    }

    /// It is started, and answers when this returns.
    pub(crate) async fn go_on(&mut self) {
        self.process.start();
        until("Redis", async || self.said("PING").await == "+PONG").await;
    }

    /// Everything that it holds is gone.
    pub(crate) async fn flush(&self) {
        assert_eq!(self.said("FLUSHALL").await, "+OK");
    }

    /// Writes all that it holds to a file of its folder, as it is.
    pub(crate) async fn dump(&self) {
        for command in ["CONFIG SET rdbcompression no", "SAVE"] {
            assert_eq!(self.said(command).await, "+OK", "{command}");
        }
    }

    async fn said(&self, command: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return String::new();
        };
        stream.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).await.unwrap_or_default();
        String::from_utf8_lossy(&answer[..count]).trim().to_owned()
    }
}
