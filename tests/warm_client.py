"""What stands for `python` and `borealis` where commands are warm: see `tests/warm.py`.

Copied into a folder on the PATH, beside the socket, under either name. It imports only what Python
has built in, as it is started for every command: 20 ms instead of seconds.
"""

import _signal
import _socket
import marshal
import os
import select
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = sys.executable
# Signals that are passed on, and those whose being ignored (`nohup`, `&`) a command takes over.
SIGNALS = [_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGTERM, _signal.SIGUSR1]


def main() -> None:
    """Have the command run, and end as it did."""
    arguments = sys.argv[1:]
    if os.path.basename(__file__) == "borealis":
        arguments.insert(0, os.path.join(os.path.dirname(PYTHON), "borealis"))
    first = arguments[arguments[:1] == ["-u"] :][:1]
    if not first or (first[0].startswith("-") and first[0] not in ("-m", "-c")):
        os.execv(PYTHON, [PYTHON, *arguments])
    # First of all, before numbers that are free are given to something else.
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    numbers = [number for number in numbers if number in _open(numbers)]
    place = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    line.connect(os.path.join(HERE, "socket"))
    mask = os.umask(0)
    os.umask(mask)
    ignored = [number for number in SIGNALS if _signal.getsignal(number) == _signal.SIG_IGN]
    request = marshal.dumps((arguments, dict(os.environ), numbers, mask, ignored))
    files = b"".join(n.to_bytes(4, sys.byteorder) for n in [place, *numbers])
    head = len(request).to_bytes(4, "big")
    line.sendmsg([head], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    line.sendall(request)
    # The number of a signal is written to the line at once, whatever Python is about.
    line.setblocking(False)
    _signal.set_wakeup_fd(line.fileno())
    for number in SIGNALS:
        if number not in ignored:
            _signal.signal(number, lambda number, frame: None)
    calls = select.poll()
    calls.register(line, select.POLLIN)
    while not calls.poll():
        pass
    answer = line.recv(4)
    if answer == b"none":  # the environment is another
        os.execv(PYTHON, [PYTHON, *arguments])
    if len(answer) < 4:
        sys.exit("The warm Python has gone; its complaint is in the output of pytest.")
    code = int.from_bytes(answer, "big", signed=True)
    if code < 0:
        if -code != _signal.SIGKILL:
            _signal.signal(-code, _signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _open(numbers: list[int]) -> set[int]:
    """Those to hand over: the folder that listed them isn't open any more."""
    found = set()
    for number in numbers:
        try:
            os.fstat(number)
        except OSError:
            continue
        found.add(number)
    return {number for number in found if number < 600}


main()
