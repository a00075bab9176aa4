//! A `PostgreSQL` server with a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User};

use super::program;
use crate::process::{Process, free_port, until};

pub(crate) struct Postgres {
    port: u16,
    bin: PathBuf,
    process: Process,
}

/// A command as the user that the server runs as: it refuses to run as root.
fn as_its_user(program: &Path) -> Command {
    if !Uid::effective().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command.current_dir("/");
    command
}

fn done(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
    output
}

impl Postgres {
    pub(crate) async fn start(folder: &Path) -> Self {
        let postgres = program("/usr/lib/postgresql/*/bin/postgres /usr/local/pgsql/bin/postgres");
        let bin = postgres.parent().unwrap().to_owned();
        let data = folder.join("postgres");
        std::fs::create_dir(&data).unwrap();
        if Uid::effective().is_root() {
            let user = User::from_name("postgres").unwrap().unwrap();
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            std::os::unix::fs::chown(&data, Some(uid), Some(gid)).unwrap();
        }
        let mut make = as_its_user(&bin.join("initdb"));
        make.args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]).arg(&data);
        done(make);
        let port = free_port();
        let serve = move || {
            let mut command = as_its_user(&postgres);
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            for setting in [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                // a server's crash is played, a machine's is not: the kernel keeps what was written
                "fsync=off",
                "max_connections=60",
            ] {
                command.args(["-c", setting]);
            }
            command
        };
        let process = Process::new("postgres", folder, serve);
        let mut this = Self { port, bin, process };
        this.go_on().await;
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// The server crashes: no session ends orderly, nothing is flushed.
    pub(crate) async fn crash(&mut self) {
        self.process.end(Signal::SIGQUIT).await;
    }

    /// It is started, and answers when this returns.
    pub(crate) async fn go_on(&mut self) {
        self.process.start();
        let (port, bin) = (self.port.to_string(), self.bin.clone());
        until("PostgreSQL", async || {
            let mut ask = Command::new(bin.join("pg_isready"));
            ask.args(["-q", "-U", "postgres", "-h", "127.0.0.1", "-p", &port]);
            ask.status().unwrap().success()
        })
        .await;
    }

    /// All that it holds, as text.
    pub(crate) fn dump(&self) -> String {
        let mut dump = Command::new(self.bin.join("pg_dump"));
        dump.args(["--inserts", "-d", &self.url()]);
        String::from_utf8(done(dump).stdout).unwrap()
    }

    /// Saves the database as its backup does; the file.
    pub(crate) fn save(&self, folder: &Path) -> PathBuf {
        let file = folder.join("flowmill.dump");
        let mut dump = Command::new(self.bin.join("pg_dump"));
        dump.args(["--format=custom", "-d", &self.url(), "-f"]).arg(&file);
        done(dump);
        file
    }

    /// Makes a database of what was saved; its address.
    pub(crate) fn restore(&self, file: &Path, name: &str) -> String {
        let port = self.port.to_string();
        let mut make = Command::new(self.bin.join("createdb"));
        make.args(["-U", "postgres", "-h", "127.0.0.1", "-p", &port, name]);
        done(make);
        let url = self.url().replacen("/postgres?", &format!("/{name}?"), 1);
        let mut restore = Command::new(self.bin.join("pg_restore"));
        restore.args(["--exit-on-error", "-d", &url]).arg(file);
        done(restore);
        url
    }

    /// What a query gives: one line a row, its columns with `|` between.
    pub(crate) fn ask(&self, query: &str) -> Vec<String> {
        let mut ask = Command::new(self.bin.join("psql"));
        ask.args(["-XAtq", "-d", &self.url(), "-c", query]);
        let answer = done(ask).stdout;
        String::from_utf8(answer).unwrap().lines().map(str::to_owned).collect()
    }
}
