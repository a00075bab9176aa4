"""What holds programs: layers that are set up once for a process and that nothing inside can undo,
and those that each program adds for itself before its first line runs.

Every layer reports what became of it. Whether that is enough is decided outside.
"""

import gc
import io
import json
import os
import resource
import signal
import socket
import struct
import sys

# What most programs import; they have it for nothing.
import base64, collections, datetime, decimal, functools, hashlib, itertools, math
import random, re, string, time, typing, urllib.parse, uuid

try:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
except (ImportError, OSError):
    # Small installations lack it; without it nothing can be isolated.
    ctypes = libc = None

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION, RULE_PATH_BENEATH = 1, 1
READ_FILE, READ_DIR, WRITE_FILE, TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
MAKE_SOCK = 1 << 9
CAPABILITY_VERSION_3 = 0x20080522
NOBODY = 65534

user = os.geteuid()
layers = []


def layer(name, state, detail=""):
    layers.append({"name": name, "state": state, "detail": detail})


def attempt(name, work):
    """Sets a layer up; `work` gives its state and what there is to say about it."""
    if libc is None:
        layer(name, "missing", "this Python has no ctypes")
        return
    try:
        layer(name, *(work() or ("active",)))
    except (OSError, ValueError, AttributeError) as error:
        layer(name, "missing", str(error))


def checked(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, "{}: {}".format(name, os.strerror(number)))


def system_call(number, *arguments):
    result = libc.syscall(*(ctypes.c_long(value) for value in (number, *arguments)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def leave_network():
    """A network namespace has no interface but a loopback that is down."""
    if user == 0:
        checked("unshare", CLONE_NEWNET)
    else:
        checked("unshare", CLONE_NEWUSER | CLONE_NEWNET)


def drop_privileges():
    if user == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    checked("capset", ctypes.create_string_buffer(header), ctypes.create_string_buffer(24))
    checked("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Nobody of the same user may look into this process.
    checked("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0)
    return "active", "uid {}".format(NOBODY if user == 0 else user)


def ruleset(version, files, network, scopes):
    """Landlock's attributes, as long as the kernel's version knows them."""
    fields = struct.pack("=QQQ", files, network, scopes)
    fields = fields[: 8 if version < 4 else 16 if version < 6 else 24]
    buffer = ctypes.create_string_buffer(fields, len(fields))
    return system_call(LANDLOCK_CREATE_RULESET, ctypes.addressof(buffer), len(fields), 0)


def allow(rules, path, rights):
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= ~READ_DIR
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, file), 12)
        system_call(LANDLOCK_ADD_RULE, rules, RULE_PATH_BENEATH, ctypes.addressof(rule), 0)
    finally:
        os.close(file)


def library_folders():
    """Where modules come from, and where the system's libraries that they load lie."""
    found = {path for path in sys.path if os.path.isdir(path)}
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if path.startswith("/") and ".so" in os.path.basename(path):
                found.add(os.path.dirname(path))
    return sorted(found - {"/", ""})


def close_files():
    """Reading is allowed below library folders only, writing nowhere, and so it stays."""
    version = system_call(LANDLOCK_CREATE_RULESET, 0, 0, CREATE_RULESET_VERSION)
    files = (1 << 13) - 1
    for since, right in (2, 1 << 13), (3, TRUNCATE), (5, 1 << 15):
        if version >= since:
            files |= right
    rules = ruleset(version, files, 3, 3)
    try:
        for path in library_folders():
            allow(rules, path, READ_FILE | READ_DIR)
        for path in "/etc/localtime", "/etc/ld.so.cache", "/dev/urandom":
            allow(rules, path, READ_FILE)
        allow(rules, "/usr/share/zoneinfo", READ_FILE | READ_DIR)
        allow(rules, os.devnull, READ_FILE | WRITE_FILE | TRUNCATE & files)
        system_call(LANDLOCK_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    try:
        os.listdir("/")
    except PermissionError:
        pass
    else:
        raise OSError("the root folder can still be read")
    # Each program gets a domain of its own below this one, so that none can reach another.
    own = ruleset(version, MAKE_SOCK, 0, 3)
    detail = "Landlock version {}".format(version)
    if version < 3:
        return own, "partial", detail + "; from 3 on it holds back truncation too"
    return own, "active", detail


class Filter:
    """A filter of system calls, ready to be put on."""

    def __init__(self, code):
        self.code = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: a count and a pointer
        fields = struct.pack("@HP", len(code) // 8, ctypes.addressof(self.code))
        self.program = ctypes.create_string_buffer(fields, len(fields))

    def put_on(self):
        checked("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.program, 0, 0)


def refused(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return
    raise OSError("{} is still possible".format(call.__name__))


class Confinement:
    """What each program's process does to itself before it runs the program. That is as little as
    can be: a fork pays for every page of memory that it is the first to touch."""

    def __init__(self, config):
        self.active = config["sandbox"]
        self.memory_bytes, self.output_bytes = config["memory_bytes"], config["output_bytes"]
        self.warm_up = config["warm_up"]
        self.own_domain = None
        self.program_filter = None
        if self.active:
            self.set_up(config["filters"])

    def set_up(self, filters):
        try:
            # Whatever runs short of memory, this goes first.
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
        except OSError:
            pass
        attempt("network namespace", leave_network)
        attempt("privileges", drop_privileges)
        attempt("files", self.set_up_files)
        attempt("system calls", lambda: self.set_up_filters(filters))
        attempt("limits", limit_process)

    def set_up_files(self):
        rules, state, detail = close_files()
        self.own_domain = [ctypes.c_long(value) for value in (LANDLOCK_RESTRICT_SELF, rules, 0)]
        return state, detail

    def set_up_filters(self, filters):
        process, program = (Filter(bytes.fromhex(code)) for code in filters)
        process.put_on()
        refused(socket.socket)
        self.program_filter = program

    def bound(self):
        """The limits that are the same for all programs; forks inherit them."""
        limit(resource.RLIMIT_FSIZE, self.output_bytes)
        limit(resource.RLIMIT_NOFILE, 256)
        limit(resource.RLIMIT_AS, self.memory_bytes)

    def confine(self, cpu_seconds):
        """All but the filter; call `seal` when every file is in its place."""
        if cpu_seconds is not None:
            limit(resource.RLIMIT_CPU, cpu_seconds)
        if self.active:
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
            if libc.syscall(*self.own_domain) < 0:
                raise OSError(ctypes.get_errno(), "landlock_restrict_self")

    def seal(self):
        if self.active:
            self.program_filter.put_on()


def limit_process():
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_MEMLOCK, 0)
    limit(resource.RLIMIT_MSGQUEUE, 0)


def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def end_with(parent):
    """Ends this process when its parent ends."""
    if libc is not None:
        checked("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def receive(control, size):
    content = b""
    while len(content) < size:
        part = control.recv(size - len(content))
        if not part:
            os._exit(0)
        content += part
    return content


def import_threading():
    """Many modules import it, and it has much to mend after each fork: locks that other threads
    may have held. Here is one thread, so it is not told of forks."""
    register, os.register_at_fork = os.register_at_fork, lambda **hooks: None
    try:
        __import__("threading")
    finally:
        os.register_at_fork = register


def begin():
    """Reads how to run, and gives the socket to the outside and what holds programs."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                # The listing's own.
                pass
    control = socket.socket(fileno=os.dup(0))
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    config = json.loads(receive(control, struct.unpack("<Q", receive(control, 8))[0]))
    sys.path.extend(config["folders"])
    if config["preload"]:
        import_threading()
    for module in config["preload"]:
        __import__(module)
    return control, Confinement(config)


def ready(control):
    """Says that programs may come, and what became of each layer."""
    gc.collect()
    gc.freeze()
    report = json.dumps(layers).encode()
    control.sendall(struct.pack("<Q", len(report)) + report)


def run(source):
    """Runs code as an interpreter runs its main program; gives its exit status."""
    try:
        if isinstance(source, str):
            source = compile(source, "<code>", "exec")
        exec(source, {"__name__": "__main__"})
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else (0 if stop.code is None else 1)
    except BaseException as error:
        # The interpreter's own printer: before 3.12 only it adds "Did you mean".
        error.__traceback__ = error.__traceback__.tb_next
        sys.__excepthook__(type(error), error, error.__traceback__)
        return 1
    return 0
