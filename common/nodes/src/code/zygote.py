"""Runs Python programs, each in a fork of this ready interpreter.

Descriptor 0 is a stream socket. A request is 16 bytes, an operation and a call's number:

    1  run: with it come three descriptors, the program's text, its stdout and its stderr
    2  kill the call

An answer is 16 bytes too, the call's number and the raw wait status, or minus an errno when no
process could be made. The first answer is (0, 0): ready. Programs and results never pass through
this process, so nothing of one call is left in the memory that the next one inherits.
"""

import gc
import io
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback

# What most programs import; a fork has it for nothing.
import base64, collections, datetime, decimal, functools, hashlib, itertools, json, math
import random, re, string, time, typing, urllib.parse, uuid

try:
    import ctypes
    prctl = ctypes.CDLL(None, use_errno=True).prctl
except (ImportError, OSError, AttributeError):
    prctl = None

RUN, KILL = 1, 2
FRAME = struct.Struct("<Qq")
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38

memory_bytes, output_bytes = int(sys.argv[1]), int(sys.argv[2])
del sys.argv[1:]
zygote_pid = os.getpid()
control = socket.socket(fileno=os.dup(0))
wake_read, wake_write = os.pipe()
os.set_blocking(wake_read, False)
os.set_blocking(wake_write, False)


def confine():
    """Everything that keeps a program in bounds is set up here, in its own process."""
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != zygote_pid:
        os._exit(1)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, output_bytes)
    limit(resource.RLIMIT_NOFILE, 256)
    limit(resource.RLIMIT_AS, memory_bytes)


def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def child(files):
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size = os.fstat(files[0]).st_size
    source = b""
    while len(source) < size:
        source += os.pread(files[0], size - len(source), len(source))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(files[1], 1)
    os.dup2(files[2], 2)
    os.dup2(nothing, 0)
    control.detach()
    os.closerange(3, max(1024, nothing + 1))
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(
        os.fdopen(2, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    confine()
    status = 0
    try:
        exec(compile(source.decode(), "<code>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
    except BaseException as error:
        status = 1
        # The interpreter's own printer: before 3.12 only it adds "Did you mean".
        error.__traceback__ = error.__traceback__.tb_next
        sys.__excepthook__(type(error), error, error.__traceback__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status & 255)


def answer(call, status):
    control.sendall(FRAME.pack(call, status))


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


children, calls = {}, {}
signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
signal.signal(signal.SIGCHLD, lambda number, frame: None)
poll = select.poll()
poll.register(control, select.POLLIN)
poll.register(wake_read, select.POLLIN)
os.close(0)
os.open(os.devnull, os.O_RDONLY)
gc.collect()
gc.freeze()
answer(0, 0)
while True:
    ready = {fd for fd, _ in poll.poll()}
    if wake_read in ready:
        os.read(wake_read, 4096)
        reap()
    if control.fileno() not in ready:
        continue
    message, files, _, _ = socket.recv_fds(control, FRAME.size, 3)
    while message and len(message) < FRAME.size:
        message += control.recv(FRAME.size - len(message))
    if not message:
        break
    operation, call = FRAME.unpack(message)
    if operation == RUN:
        try:
            pid = os.fork()
        except OSError as error:
            answer(call, -error.errno)
        else:
            if pid == 0:
                try:
                    child(files)
                except BaseException:
                    # Only reached when the program broke its own streams.
                    traceback.print_exc()
                finally:
                    os._exit(1)
            try:
                os.setpgid(pid, pid)
            except OSError:
                pass
            children[pid], calls[call] = call, pid
        for file in files:
            os.close(file)
    elif operation == KILL and call in calls:
        kill_group(calls[call])

for pid in children:
    kill_group(pid)
