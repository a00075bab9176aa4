//! Python processes that run one program after the other in the same interpreter: for programs
//! that trust each other. What runs inside is `pooled.py`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::process::{self, Options, Process};
use super::{Finished, Isolation, Program, PythonError};

const SCRIPT: &str = concat!(include_str!("confine.py"), "\n", include_str!("pooled.py"));

/// Stands for the constant in a text that is compiled once; `pooled.py` knows it too.
const PLACEHOLDER: &str = "\u{2}constant\u{3}";

/// Processes that wait for a program.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<Process>>,
}

impl Pool {
    /// Runs a program in a process that has nothing to do, or in a new one. A process whose
    /// program did not end by itself, or whose caller left, is not used again.
    pub(super) async fn run(
        &self,
        options: &Options,
        program: Program<'_>,
        timeout: Duration,
        started: impl Fn(&Isolation),
    ) -> Result<Finished, PythonError> {
        let idle = self.lock().pop();
        let mut process = if let Some(process) = idle {
            process
        } else {
            let process = process::start(options, SCRIPT).await?;
            started(&process.isolation);
            process
        };
        let exchange = exchange(&mut process, program, options.output_bytes);
        let result = tokio::time::timeout(timeout, exchange).await;
        let finished = result.map_err(|_| PythonError::TimedOut)??;
        self.lock().push(process);
        Ok(finished)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn exchange(
    process: &mut Process,
    program: Program<'_>,
    output_bytes: usize,
) -> Result<Finished, PythonError> {
    let lost = |_| PythonError::Lost;
    let socket = &mut process.socket;
    socket.write_all(&request(program)).await.map_err(lost)?;
    let mut head = [0; 24];
    socket.read_exact(&mut head).await.map_err(lost)?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[at * 8..][..8]);
        u64::from_le_bytes(bytes)
    };
    let length = |at: usize| usize::try_from(number(at)).unwrap_or(usize::MAX);
    let (stdout, stderr) = (length(1), length(2));
    if stdout.max(stderr) >= output_bytes {
        return Err(PythonError::TooMuchOutput(output_bytes));
    }
    let mut stdout = vec![0; stdout];
    let mut stderr = vec![0; stderr];
    socket.read_exact(&mut stdout).await.map_err(lost)?;
    socket.read_exact(&mut stderr).await.map_err(lost)?;
    Ok(Finished { status: number(0).cast_signed(), stdout, stderr })
}

fn request(program: Program<'_>) -> Vec<u8> {
    let Program { head, constant, tail, stdin } = program;
    // A text that holds the placeholder itself has no constant.
    let whole = constant.is_empty() || head.contains(PLACEHOLDER) || tail.contains(PLACEHOLDER);
    let (middle, constant) = if whole { (constant, "") } else { (PLACEHOLDER, constant) };
    let text = head.len() + middle.len() + tail.len();
    let mut bytes = Vec::with_capacity(24 + text + constant.len() + stdin.len());
    for length in [text, constant.len(), stdin.len()] {
        bytes.extend((length as u64).to_le_bytes());
    }
    for part in [head, middle, tail, constant] {
        bytes.extend(part.as_bytes());
    }
    bytes.extend(stdin);
    bytes
}
