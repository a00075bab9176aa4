//! A `RabbitMQ` node with a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::TcpStream;

use super::program;
use crate::process::{Process, free_port, until};

pub(crate) struct Rabbit {
    port: u16,
    home: PathBuf,
    data: PathBuf,
    /// The program that gives orders to a node.
    control: PathBuf,
    process: Process,
}

impl Rabbit {
    pub(crate) async fn start(folder: &Path) -> Self {
        // the wrapper of a distribution changes the user; this is the program itself
        let server = program(
            "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server \
             /opt/rabbitmq/sbin/rabbitmq-server",
        );
        let home = folder.join("rabbitmq");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("plugins"), "[].").unwrap();
        let (port, distribution) = (free_port(), free_port());
        let data = home.join("data");
        let control = server.with_file_name("rabbitmqctl");
        let serve = {
            let (home, data) = (home.clone(), data.clone());
            move || {
                let mut command = Command::new(&server);
                command
                    .env("HOME", &home)
                    .env("RABBITMQ_NODENAME", format!("flowmill{port}@localhost"))
                    .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                    .env("RABBITMQ_NODE_PORT", port.to_string())
                    .env("RABBITMQ_DIST_PORT", distribution.to_string())
                    .env("RABBITMQ_MNESIA_BASE", &data)
                    .env("RABBITMQ_LOG_BASE", home.join("log"))
                    .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("plugins"))
                    .env("RABBITMQ_CONFIG_FILE", home.join("none"))
                    .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
                    // one scheduler a core is plenty, and busy waiting takes it from the others
                    .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +S 2:2");
                command
            }
        };
        let process = Process::new("rabbitmq", folder, serve);
        let mut this = Self { port, home, data, control, process };
        this.go_on().await;
        this
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// Gives the node an order, and gives what it says to that.
    pub(crate) fn order(&self, words: &[&str]) -> String {
        let mut command = Command::new(&self.control);
        command.env("HOME", &self.home).env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        command.args(["--quiet", "--node", &format!("flowmill{}@localhost", self.port)]);
        let said = command.args(words).output().unwrap();
        assert!(said.status.success(), "{words:?}: {said:?}");
        String::from_utf8(said.stdout).unwrap()
    }

    /// The node is killed; what it wrote stays.
    pub(crate) fn crash(&mut self) {
        self.process.kill();
    }

    /// The node stands still: it takes and confirms nothing.
    pub(crate) fn freeze(&mut self) {
        self.process.freeze();
    }

    pub(crate) fn thaw(&mut self) {
        self.process.thaw();
    }

    /// What a stopped node had written is lost.
    pub(crate) fn wipe(&mut self) {
        assert!(!self.process.runs());
        std::fs::remove_dir_all(&self.data).unwrap();
    }

    /// It is started, and answers when this returns.
    pub(crate) async fn go_on(&mut self) {
        self.process.start();
        let address = ("127.0.0.1", self.port);
        until("RabbitMQ", async || TcpStream::connect(address).await.is_ok()).await;
    }
}
