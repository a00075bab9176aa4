"""Runs Python programs, each in a fork of this ready interpreter.

The socket carries requests of four numbers: an operation, a call's number, and for a program the
length of its text and its processor time in seconds.

    1  run: with it come three descriptors, a file with the program's text and then its stdin, its
       stdout and its stderr
    2  kill the call

An answer is two numbers, the call's and the raw wait status, or minus an errno when no process
could be made. Programs and results never pass through this process, so nothing of one call is
left in the memory that the next one inherits.
"""

import _signal
import select
import traceback

RUN, KILL = 1, 2
REQUEST, ANSWER = struct.Struct("<4Q"), struct.Struct("<Qq")

WARM = """
def main(number, text):
    return {"number": 2 * number, "text": text.upper()}

import json
from base64 import b64decode

inputs = json.loads(b64decode("eyJudW1iZXIiOiAxLCAidGV4dCI6ICJhIn0=").decode("utf-8"))
print(f"{json.dumps(main(**inputs), indent=4)}")
"""

zygote_pid = os.getpid()
control, confinement = begin()
wake_read, wake_write = os.pipe()
os.set_blocking(wake_read, False)
os.set_blocking(wake_write, False)


def child(files, length, cpu_seconds):
    os.setpgid(0, 0)
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    end_with(zygote_pid)
    source = b""
    while len(source) < length:
        source += os.pread(files[0], length - len(source), len(source))
    os.lseek(files[0], length, os.SEEK_SET)
    for number, file in enumerate(files):
        os.dup2(file, number)
    confinement.confine(cpu_seconds)
    control.detach()
    os.closerange(3, 1024)
    confinement.seal()
    status = run(source.decode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 255)


def answer(call, status):
    control.sendall(ANSWER.pack(call, status))


def reap():
    while children:
        # Looked at before it is reaped: until then its number, and its group's, are its own.
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        kill_group(ended.si_pid)
        pid, status = os.waitpid(ended.si_pid, 0)
        call = children.pop(pid)
        del calls[call]
        answer(call, status)


def kill_group(pid):
    for kill in os.killpg, os.kill:
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def fork(call, files, length, cpu_seconds):
    try:
        pid = os.fork()
    except OSError as error:
        answer(call, -error.errno)
        return
    if pid == 0:
        try:
            child(files, length, cpu_seconds)
        except BaseException:
            # It could not be held, or the program broke its own streams.
            traceback.print_exc()
        finally:
            os._exit(1)
    try:
        os.setpgid(pid, pid)
    except OSError:
        pass
    children[pid], calls[call] = call, pid


def warm_up():
    """Runs what most programs run, so that its traces in memory are made here and inherited: a
    fork pays for every page that it is the first to change."""
    for _ in range(20):
        run(confinement.warm_up or WARM)
    sys.stdout.flush()


# Forks find other files behind these descriptors.
sys.stdin = open(0, encoding="utf-8", closefd=False)
sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", write_through=True)
sys.stderr = io.TextIOWrapper(
    os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
)
warm_up()
confinement.bound()
children, calls = {}, {}
signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
signal.signal(signal.SIGCHLD, lambda number, frame: None)
poll = select.poll()
poll.register(control, select.POLLIN)
poll.register(wake_read, select.POLLIN)
ready(control)
while True:
    events = {fd for fd, _ in poll.poll()}
    if wake_read in events:
        os.read(wake_read, 4096)
        reap()
    if control.fileno() not in events:
        continue
    message, files, _, _ = socket.recv_fds(control, REQUEST.size, 3)
    if not message:
        break
    message += receive(control, REQUEST.size - len(message))
    operation, call, length, cpu_seconds = REQUEST.unpack(message)
    if operation == RUN:
        fork(call, files, length, cpu_seconds)
        for file in files:
            os.close(file)
    elif operation == KILL and call in calls:
        kill_group(calls[call])

for pid in children:
    kill_group(pid)
