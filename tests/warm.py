"""A warm Python: commands in processes of their own that needn't import what is slow to import.

A command of Borealis spends most of its seconds on importing torch and transformers. Tests that run
many of them do it once:

    with Warm("borealis.training.pipeline") as warm:
        subprocess.run(["borealis", "info"], env=warm.environment(os.environ))

The first command starts a server: a Python that imports the modules, computes nothing, and forks for
each command. On the PATH of that environment `borealis` and `python` are a small client
(`tests/warm_client.py`), which hands over the arguments, the environment, the folder and whatever
files are open, passes signals on, and ends as the command does. The command runs in the fork as the
main program of a process: with its own streams, arguments and `sys.path`, in a session of its own,
and it ends as Python ends.

What libraries read when they are imported they have read from the server's environment, so only a
command with the same one is warm; any other, and Python with options other than `-u`, `-m` and `-c`,
is started the ordinary way. So is everything where a fork would lack something: threads that an import
has started, which `OMP_NUM_THREADS=1` prevents, or a GPU. Not for tests of what is imported, or of a
whole process and its threads: they start Python themselves.
"""

from __future__ import annotations

import fcntl
import gc
import io
import marshal
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent
CLIENT = Path(__file__).with_name("warm_client.py")
# What differs from command to command.
_PASSING = {"_", "PWD", "OLDPWD", "SHLVL", "PYTEST_CURRENT_TEST"}
# What torch's launcher tells each process; asked for when the training begins.
LAUNCHED = (
    "GROUP_RANK", "GROUP_WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "RANK", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "TORCHELASTIC_ERROR_FILE",
    "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_SIGNALS_TO_HANDLE", "TORCHELASTIC_USE_AGENT_STORE", "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "WORLD_SIZE",
)  # fmt: skip
_HIGH = 600  # numbers of files from here up aren't handed over, nor by the client


class Warm:
    """A folder with `borealis` and `python` for the PATH, and the server behind them.

    Args:
        *modules: what is imported before the commands.
        free: variables that may differ, as no library reads them when it is imported.
    """

    def __init__(self, *modules: str, free: Collection[str] = ()) -> None:
        self.modules, self.free = modules, _PASSING.union(free)
        self.folder = Path(tempfile.mkdtemp(prefix="warm-"))
        self._server: subprocess.Popen[bytes] | None = None
        program = f"#!{sys.executable} -IS\n{CLIENT.read_text(encoding='utf-8')}"
        for name in ("borealis", "python"):
            (self.folder / name).write_text(program, encoding="utf-8")
            (self.folder / name).chmod(0o755)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The variables, with the folder first on the PATH. The first ones are the server's."""
        path = os.pathsep.join((str(self.folder), variables.get("PATH", os.defpath)))
        env = {**variables, "PATH": path}
        if self._server is None:
            with socket.socket(socket.AF_UNIX) as line:
                line.bind(str(self.folder / "socket"))
                line.listen(64)
                number = line.fileno()
                self._server = subprocess.Popen(
                    [sys.executable, __file__, str(number), ",".join(self.free), *self.modules],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.PIPE,  # its end is the server's
                    stdout=subprocess.DEVNULL,
                    pass_fds=[number],
                )
        return env

    def close(self) -> None:
        """End the server and whatever it still runs."""
        if self._server is not None:
            self._server.communicate()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


# ---- the server ----


class Request(NamedTuple):
    """A command as the client hands it over."""

    arguments: list[str]
    variables: dict[str, str]
    numbers: list[int]  # of the open files
    mask: int
    ignored: list[int]  # signals
    files: list[int]  # the folder, then the open files, as they are numbered here


def serve(line: socket.socket, own: Mapping[str, str] | None, free: Collection[str]) -> Request:
    """Fork for each command, and return in the fork. The server itself ends here.

    Args:
        line: where clients call.
        own: variables that a command must have to be warm; None if none can be.
        free: those of them that may differ.
    """
    watch = selectors.DefaultSelector()
    watch.register(line, selectors.EVENT_READ)
    watch.register(0, selectors.EVENT_READ)
    running: dict[int, tuple[int, socket.socket]] = {}  # by descriptor of the process
    clients: dict[socket.socket, int] = {}  # to its process

    def forget(client: socket.socket) -> None:
        watch.unregister(client)
        del clients[client]
        client.close()

    while True:
        # One at a time: what it closes may be named among the others.
        for key, _ in watch.select()[:1]:
            if key.fileobj == 0:
                for process in clients.values():
                    _kill(process)
                sys.exit()
            if key.fileobj is line:
                client, _ = line.accept()
                if (request := _read(client)) is None:
                    client.close()
                    continue
                if own is None or _differ(request.variables, own, free):
                    with suppress(ConnectionError):
                        client.sendall(b"none")
                    client.close()
                elif process := os.fork():
                    clients[client] = process
                    watch.register(client, selectors.EVENT_READ)
                    handle = os.pidfd_open(process)
                    running[handle] = process, client
                    watch.register(handle, selectors.EVENT_READ)
                else:
                    watch.close()
                    return request
                for number in request.files:
                    os.close(number)
            elif key.fd in running:
                process, client = running.pop(key.fd)
                watch.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                if client in clients:
                    with suppress(ConnectionError):  # it may have been killed just now
                        client.sendall(code.to_bytes(4, "big", signed=True))
                    forget(client)
            elif (client := key.fileobj) in clients:
                process = clients[client]
                if signals := client.recv(64):
                    for number in signals:
                        os.kill(process, number)
                else:  # the client was killed
                    _kill(process)
                    forget(client)


def _kill(process: int) -> None:
    """End a fork and whatever it has started."""
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:  # it has no session yet
        os.kill(process, signal.SIGKILL)


def _differ(one: Mapping[str, str], two: Mapping[str, str], free: Collection[str]) -> bool:
    return any(name not in free for name, _ in one.items() ^ two.items())


def _read(client: socket.socket) -> Request | None:
    """A request; None if the client is killed before it is whole."""
    head, files, _, _ = socket.recv_fds(client, 4, _HIGH)
    size = int.from_bytes(head, "big")
    body = client.recv(size, socket.MSG_WAITALL) if size else b""
    if not body or len(body) < size:
        for number in files:
            os.close(number)
        return None
    return Request(*marshal.loads(body), files)


def take_on(request: Request, free: Collection[str]) -> None:
    """Make this fork the process that the client would have been."""
    os.setsid()
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _HIGH) for number in request.files]
    os.closerange(0, _HIGH)
    os.fchdir(high[0])
    for number, file in zip(request.numbers, high[1:], strict=True):
        os.dup2(file, number)
    os.closerange(_HIGH, high[-1] + 1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
        # As Python begins, and not as the server was told, which a test may have started by nohup.
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request.ignored else usual)
    os.umask(request.mask)
    for name in free:
        os.environ.pop(name, None)
    os.environ.update(request.variables)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if number in request.numbers:
            stream = _stream(number, getattr(sys, name), request.arguments[0] == "-u")
        else:
            stream = None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # Python's own numbers are told of a fork


def _stream(number: int, like: io.TextIOWrapper, at_once: bool) -> io.TextIOWrapper:
    """A standard stream as Python opens it."""
    mode = "w" if number else "r"
    at_once = at_once or like.write_through  # PYTHONUNBUFFERED
    buffering = 0 if number and at_once else -1
    binary: Any = open(number, f"{mode}b", buffering, closefd=False)  # noqa: SIM115
    getattr(binary, "raw", binary).name = like.name
    lines = not at_once and (number == 2 or os.isatty(number))
    stream = io.TextIOWrapper(
        binary, like.encoding, like.errors, "\n", lines, write_through=at_once
    )
    stream.mode = mode
    return stream


def run(arguments: list[str]) -> None:
    """What `python ARGUMENTS` does: a module, a program or a script is the main module."""
    first, *rest = arguments[arguments[0] == "-u" :]
    if first == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), module.__dict__)
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(os.path.realpath(first)))
        runpy.run_path(first, run_name="__main__")


def warm_up(modules: list[str]) -> bool:
    """Import what commands need; False if a fork would lack something of it."""
    sys.path[0] = str(ROOT)
    for name in modules:
        import_module(name)
    del sys.path[0]
    # Nothing of this is garbage, and a fork that looks through it would copy it.
    gc.collect()
    gc.freeze()
    if os.path.exists("/dev/nvidiactl"):
        print("Commands aren't warm: a fork can't use the GPU.", file=sys.stderr)
        return False
    if len(os.listdir("/proc/self/task")) > 1:
        print("Commands aren't warm: imports have started threads.", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    listening = socket.socket(fileno=int(sys.argv[1]))
    variables, free = dict(os.environ), sys.argv[2].split(",")
    command = serve(listening, variables if warm_up(sys.argv[3:]) else None, free)
    listening.detach()
    take_on(command, free)
    run(command.arguments)
