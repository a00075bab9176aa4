//! Programs that try to get out of the sandbox, to bring it down or to disturb others. Each ends
//! in an error of its own node; a node that runs at the same time does not notice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod support;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use flowmill_engine::error::{ErrorClass, NodeError};
use flowmill_engine::plan::Success;
use flowmill_engine::value::Value;
use flowmill_engine::variables::Variables;
use flowmill_nodes::code::{CodeRunner, CodeSettings, Isolation, PythonSettings, State};
use flowmill_nodes::context::NodeContext;
use flowmill_nodes::files::MemoryFiles;
use flowmill_nodes::http_request::client::Offline;
use futures::future::join_all;
use support::node;

fn context(timeout: Duration, trusted_code: bool) -> NodeContext {
    // One process: attackers and neighbours share it.
    let memory_bytes = 256 << 20;
    let python = PythonSettings { processes: 1, memory_bytes, ..PythonSettings::default() };
    let settings = CodeSettings { timeout, trusted_code, python, ..CodeSettings::default() };
    let code = Arc::new(CodeRunner::new(&settings));
    let files = Arc::new(MemoryFiles::default());
    NodeContext {
        attempt: 1,
        timeout,
        code,
        http: Arc::new(Offline),
        files,
        documents: Arc::default(),
        services: Arc::default(),
        caller: Arc::default(),
        steps: None,
        children: None,
        chunks: None,
    }
}

async fn run(language: &str, code: &str, context: &NodeContext) -> Result<Success, NodeError> {
    let says = Value::object([("type".into(), "string".into())]);
    let outputs = Value::object([("says".into(), says)]);
    node(&language.into(), &code.into(), &[], &outputs)
        .execute(&Variables::default(), context)
        .await
}

/// What the statements leave in `says`.
async fn says(statements: &str, context: &NodeContext) -> Result<String, NodeError> {
    let body = statements.replace('\n', "\n    ");
    let code = format!("def main():\n    {body}\n    return {{'says': str(says)}}");
    let success = run("python3", &code, context).await?;
    let said = success.outputs.first().map(|(_, output)| output.value().to_python());
    Ok(said.unwrap_or_default())
}

const GENEROUS: Duration = Duration::from_secs(30);

/// Runs each of the statements beside a neighbour, and holds its error against the expected one.
async fn refused(context: &NodeContext, attacks: &[(&str, &str)]) {
    let neighbour = says("import time\ntime.sleep(0.5)\nsays = 'well'", context);
    let attacks = attacks.iter().map(|(statements, expected)| async move {
        match says(&format!("{statements}\nsays = 'it worked'"), context).await {
            Ok(said) => Some(format!("{statements}\n  {said}")),
            Err(error) if error.message.contains(expected) => None,
            Err(error) => Some(format!("{statements}\n  failed otherwise: {}", error.message)),
        }
    });
    let (neighbour, wrong) = futures::join!(neighbour, join_all(attacks));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(neighbour.unwrap(), "well");
    assert_eq!(says("says = 'alive'", context).await.unwrap(), "alive");
}

#[tokio::test]
async fn files_are_out_of_reach() {
    let ours = format!("open('/proc/{}/environ').read()", std::process::id());
    let temporary = std::env::temp_dir();
    let temporary = temporary.display();
    let write = format!("open('{temporary}/escaped', 'w')");
    let link = format!("import os; os.symlink('/etc/passwd', '{temporary}/escaped')");
    refused(
        &context(GENEROUS, false),
        &[
            ("open('/etc/passwd').read()", "PermissionError"),
            ("open('/proc/self/environ').read()", "PermissionError"),
            ("open('/proc/1/environ').read()", "PermissionError"),
            (&ours, "PermissionError"),
            ("import os; open(f'/proc/{os.getppid()}/mem', 'rb+')", "PermissionError"),
            ("import os; os.listdir('/')", "PermissionError"),
            ("import os; open(os.__file__, 'a')", "PermissionError"),
            (&write, "PermissionError"),
            ("open('/dev/shm/escaped', 'w')", "PermissionError"),
            (&link, "PermissionError"),
            ("import os; os.open('/usr/lib/../../etc/passwd', os.O_RDONLY)", "PermissionError"),
            ("import os; os.readlink(f'/proc/{os.getppid()}/exe')", "PermissionError"),
            ("import os; os.chroot('/')", "PermissionError"),
            ("import os; os.mkdir('/dev/shm/escaped')", "PermissionError"),
            ("import os; os.truncate(os.__file__, 0)", "PermissionError"),
            ("import tempfile; tempfile.NamedTemporaryFile()", "No usable temporary directory"),
        ],
    )
    .await;
}

#[tokio::test]
async fn there_is_no_network() {
    refused(
        &context(GENEROUS, false),
        &[
            ("import socket; socket.create_connection(('127.0.0.1', 80))", "PermissionError"),
            ("import socket; socket.socket(socket.AF_INET6)", "PermissionError"),
            ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "PermissionError"),
            ("import socket; socket.socket(socket.AF_UNIX)", "PermissionError"),
            ("import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "PermissionError"),
            ("import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "PermissionError"),
            ("import socket; socket.socketpair(type=socket.SOCK_DGRAM)", "PermissionError"),
            ("import socket; socket.socketpair()[0].connect('/run/x')", "PermissionError"),
            ("import urllib.request; urllib.request.urlopen('http://127.0.0.1')", "URLError"),
            ("import socket; socket.getaddrinfo('example.com', 80)", "gaierror"),
        ],
    )
    .await;
}

#[tokio::test]
async fn other_processes_are_out_of_reach() {
    let ours = format!("import os; os.kill({}, 9)", std::process::id());
    let owner = "import fcntl, os\nends = os.pipe()\nfcntl.fcntl(ends[0], 10, 9)\n\
                 fcntl.fcntl(ends[0], fcntl.F_SETOWN, os.getppid())";
    refused(
        &context(GENEROUS, false),
        &[
            ("import os\nwhile True: os.fork()", "PermissionError"),
            ("import subprocess; subprocess.run(['/bin/true'])", "PermissionError"),
            ("import os; os.execv('/bin/sh', ['sh'])", "PermissionError"),
            ("import os; os.posix_spawn('/bin/true', ['true'], {})", "PermissionError"),
            ("import multiprocessing; multiprocessing.Pool(2)", "Error"),
            ("import threading\nwhile True: threading.Thread(target=lambda: 0).start()", "thread"),
            ("import os; os.kill(os.getppid(), 9)", "PermissionError"),
            ("import os; os.kill(-1, 9)", "PermissionError"),
            ("import os; os.killpg(0, 9)", "PermissionError"),
            (&ours, "PermissionError"),
            (owner, "PermissionError"),
            ("import os; os.setsid()", "PermissionError"),
            ("import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)", "PermissionError"),
            (
                "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
                "PermissionError",
            ),
            ("import os; os.setuid(0)", "PermissionError"),
            (
                "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
                "ValueError",
            ),
        ],
    )
    .await;
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn raw_system_calls_are_refused() {
    // clone, fork, vfork, execve, ptrace, mount, reboot, keyctl, unshare, splice of pages,
    // perf, process_vm_readv and writev, setns, kcmp, finit_module, seccomp, memfd_create, bpf,
    // execveat, userfaultfd, pidfd_send_signal, io_uring, pidfd_open, clone3, openat2, pidfd_getfd,
    // landlock, a call of the future, and one in the x32 way.
    let calls = "import ctypes, errno\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        numbers = [56, 57, 58, 59, 101, 165, 169, 250, 272, 278, 298, 310, 311, 308, 312, 313, 317,\n\
            319, 321, 322, 323, 424, 425, 426, 427, 434, 435, 437, 438, 444, 446, 9999,\n\
            0x40000000 | 41]\n\
        done = []\n\
        for number in numbers:\n\
        \x20   if libc.syscall(number, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.EPERM:\n\
        \x20       done.append((number, ctypes.get_errno()))\n\
        says = done";
    let context = context(GENEROUS, false);
    assert_eq!(says(calls, &context).await.unwrap(), "[]");
    // Another machine's numbers: getpid of 32-bit programs.
    let old = "import ctypes, mmap\n\
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n\
        page.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n\
        place = ctypes.addressof(ctypes.c_char.from_buffer(page))\n\
        says = ctypes.CFUNCTYPE(ctypes.c_int)(place)()";
    let error = says(old, &context).await.unwrap_err();
    assert!(error.message.contains("exit status"), "{}", error.message);
    assert_eq!(says("says = 'alive'", &context).await.unwrap(), "alive");
}

#[tokio::test]
async fn memory_and_output_are_bounded() {
    refused(
        &context(GENEROUS, false),
        &[
            ("x = bytearray(10 << 30)", "MemoryError"),
            ("x = 'x'\nwhile True: x += x", "MemoryError"),
            ("import mmap; mmap.mmap(-1, 10 << 30)", "Cannot allocate memory"),
            ("while True: print('x' * 1000000)", "output"),
            ("import os; os.ftruncate(1, 10 << 30)", "File too large"),
            ("def f(): f()\nf()", "RecursionError"),
            ("import ctypes; ctypes.string_at(0)", "exit status"),
        ],
    )
    .await;
}

#[tokio::test]
async fn time_is_bounded() {
    let context = context(Duration::from_secs(1), false);
    let endless = [
        ("python3", "while True: pass"),
        ("python3", "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')"),
        ("python3", "import time; time.sleep(100)"),
        (
            "python3",
            "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        ),
        ("javascript", "while (true) {}"),
        ("javascript", "/^(a+)+$/.test('a'.repeat(40) + 'b')"),
    ];
    let neighbour = says("import time\ntime.sleep(0.3)\nsays = 'well'", &context);
    let endless = join_all(endless.iter().map(|(language, code)| run(language, code, &context)));
    let (neighbour, results) = futures::join!(neighbour, endless);
    for result in results {
        let error = result.unwrap_err();
        assert_eq!((error.class, &*error.message), (ErrorClass::Timeout, "error: timeout"));
    }
    assert_eq!(neighbour.unwrap(), "well");
    assert_eq!(says("says = 'alive'", &context).await.unwrap(), "alive");
}

#[tokio::test]
async fn nothing_of_ours_can_be_seen() {
    let context = context(GENEROUS, false);
    let environment = says("import os\nsays = sorted(os.environ)", &context).await.unwrap();
    assert_eq!(environment, "['LANG', 'PATH']");
    says("import builtins\nbuiltins.left = 1\nsays = 1", &context).await.unwrap();
    let left = says("import builtins\nsays = hasattr(builtins, 'left')", &context).await.unwrap();
    assert_eq!(left, "False");
    let open = "import os\nsays = []\nfor n in range(256):\n\
                \x20   try: os.fstat(n); says.append(n)\n\x20   except OSError: pass";
    assert_eq!(says(open, &context).await.unwrap(), "[0, 1, 2]");
}

#[tokio::test]
async fn what_computes_still_works() {
    let context = context(GENEROUS, false);
    let working = [
        (
            "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 3\nsays = asyncio.run(f())",
            "3",
        ),
        (
            "import zoneinfo, datetime\nsays = datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset()",
            "2:00:00",
        ),
        (
            "import sqlite3\nsays = sqlite3.connect(':memory:').execute('select 1 + 1').fetchone()",
            "(2,)",
        ),
        (
            "import csv, html, statistics, xml.etree.ElementTree, ssl, lzma\nsays = statistics.mean([1, 3])",
            "2",
        ),
        ("import random, secrets, uuid\nsays = len(secrets.token_hex(4) + uuid.uuid4().hex)", "40"),
        ("import signal\nsignal.alarm(10)\nsays = signal.alarm(0)", "10"),
        ("import os\nsays = os.cpu_count() > 0", "True"),
    ];
    for (statements, expected) in working {
        let said = says(statements, &context).await;
        assert_eq!(said.as_deref(), Ok(expected), "{statements}");
    }
    let random = "import random\nsays = random.random()";
    assert_ne!(says(random, &context).await.unwrap(), says(random, &context).await.unwrap());
}

#[tokio::test]
async fn what_holds_is_reported() {
    let context = context(GENEROUS, false);
    assert_eq!(context.code.isolation(), None);
    let isolation: Isolation = context.code.isolate().await.unwrap();
    let names: Vec<&str> = isolation.layers.iter().map(|layer| &*layer.name).collect();
    assert_eq!(names, ["network namespace", "privileges", "files", "system calls", "limits"]);
    let required = isolation.layers.iter().filter(|layer| layer.name != "network namespace");
    assert!(required.clone().all(|layer| layer.state == State::Active), "{isolation:?}");
    assert_eq!(context.code.isolation(), Some(isolation));
}

#[tokio::test]
async fn trusted_programs_share_an_interpreter_in_the_sandbox() {
    let context = context(Duration::from_secs(2), true);
    refused(
        &context,
        &[
            ("open('/etc/passwd').read()", "PermissionError"),
            ("import socket; socket.socket()", "PermissionError"),
            ("import os; os.fork()", "PermissionError"),
            ("import os; os.kill(os.getppid(), 9)", "PermissionError"),
            ("x = bytearray(10 << 30)", "MemoryError"),
            ("raise ValueError('boom')", "line 2, in main\nValueError: boom"),
            ("import sys; sys.exit(3)", "exit status 768"),
            ("print('x' * (70 << 20))", "output"),
            ("def main(:", "SyntaxError"),
        ],
    )
    .await;
    says("import json\njson.left = 1\nsays = 1", &context).await.unwrap();
    let left = "import json\nsays = hasattr(json, 'left'), 'says' in globals()";
    assert_eq!(says(left, &context).await.unwrap(), "(True, False)");
    let error = says("while True: pass", &context).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    let error = says("import os; os._exit(1)\nsays = 1", &context).await.unwrap_err();
    assert!(error.message.contains("interpreter ended"), "{}", error.message);
    assert_eq!(says(left, &context).await.unwrap(), "(False, False)");
}

/// Runs Python as on a kernel without Landlock.
const OLD_KERNEL: &str = "#!/usr/bin/python3 -IS
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
steps = (0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(b''.join(struct.pack('@HBBI', *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack('@HP', 4, ctypes.addressof(code)))
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(22, 2, ctypes.byref(program), 0, 0)
os.execv('/usr/bin/python3', sys.argv)
";

#[tokio::test]
async fn code_that_cannot_be_isolated_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let file = std::env::temp_dir().join(format!("flowmill-old-kernel-{}", std::process::id()));
    std::fs::write(&file, OLD_KERNEL).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let python = PythonSettings { interpreter: Some(file.clone()), ..PythonSettings::default() };
    let run = async |unsafe_code: bool| {
        let settings =
            CodeSettings { unsafe_code, python: python.clone(), ..CodeSettings::default() };
        let code = Arc::new(CodeRunner::new(&settings));
        let context = NodeContext { code, ..context(GENEROUS, false) };
        says("says = open('/etc/hostname').read() and 1", &context).await
    };
    let (held, free) = (run(false).await, run(true).await);
    std::fs::remove_file(&file).unwrap();
    let error = held.unwrap_err();
    assert_eq!((error.class, &*error.kind), (ErrorClass::Denied, "CodeExecutionError"));
    let message = "failed to isolate the program: files: missing ([Errno 38] Function not \
                   implemented). Where that cannot be mended, --unsafe-code runs programs without a \
                   sandbox, with the rights of this process";
    assert_eq!(&*error.message, message);
    assert_eq!(free.as_deref(), Ok("1"));
}

/// The same as another user, when this one is root: an ordinary user has other means.
#[test]
fn an_ordinary_user_can_isolate_too() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let copy = std::env::temp_dir().join(format!("flowmill-sandbox-{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new(&copy)
        .args(["--skip", "an_ordinary_user_can_isolate_too"])
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output();
    std::fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
