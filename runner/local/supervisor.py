"""The parent of every process in a pod: nothing below it outlives it, and it does not outlive runspec.

Run as a script, `python -I -S supervisor.py PROGRAM ARG…`, by `runner.local.pods`. Standard library only, and few
imports, because it stands in front of each pod. Its standard input is a pipe that nobody writes to: when runspec
dies, even by SIGKILL, the kernel closes the other end, and the supervisor kills the whole pod at once. SIGTERM asks
the pod to stop and leaves the time limit to runspec. Its exit code is that of the program, 128 + n after signal n.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_EXECUTE = 127


def main(argv: list[str]) -> int:
    """Run `argv` in a session of its own until it, runspec, or the patience of runspec ends."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: asked_to_stop.append(got))
    child = _spawn(argv)
    return _watch(child, wake_read, asked_to_stop)


def _spawn(argv: list[str]) -> int:
    supervisor = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(CANNOT_EXECUTE)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        _limit_memory(os.environ.get("RUNSPEC_POD_MEMORY_MB", ""))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(argv[0], argv)  # noqa: S606  an argument list, as everywhere here
    except OSError as exc:
        os.write(2, f"{argv[0]}: {exc.strerror}\n".encode())
    finally:
        os._exit(CANNOT_EXECUTE)


def _limit_memory(mebibytes: str) -> None:
    """Let allocations beyond a limit fail, as they do in a container that is too small.

    RLIMIT_DATA counts private writable memory; RLIMIT_AS would count every library that is mapped too, which differs by
    gigabytes from one build of torch to the next.
    """
    if mebibytes:
        import resource  # noqa: PLC0415  most pods have no limit, and this stands in front of each

        limit = int(mebibytes) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _watch(child: int, wake_fd: int, asked_to_stop: list[int]) -> int:
    told = False
    while True:
        ready, _, _ = select.select([0, wake_fd], [], [], 30.0)
        if wake_fd in ready:
            os.read(wake_fd, 4096)
        code = _reap(child)
        if code is not None:
            _kill_descendants()
            return code
        if 0 in ready and not os.read(0, 4096):
            _kill_group(child, signal.SIGKILL)
            _kill_descendants()
            return 128 + signal.SIGKILL
        if asked_to_stop and not told:
            told = True
            _kill_group(child, signal.SIGTERM)


def _reap(child: int) -> int | None:
    """Collect whatever has ended; the exit code of `child` once it has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return CANNOT_EXECUTE
        if pid == 0:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # The child has not made its session yet, so there is no group of that number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(group, number)


def _kill_descendants() -> None:
    """Kill every process below this one: as subreaper it inherits even those that left the group."""
    for _ in range(1000):
        for pid in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            # Blocks until one is gone; its own children are adopted and die in the next round.
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        return [int(pid) for pid in _read(f"/proc/self/task/{os.getpid()}/children").split()]
    except OSError:
        return _children_by_stat()


def _children_by_stat() -> list[int]:
    me, found = str(os.getpid()).encode(), []
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            with contextlib.suppress(OSError, IndexError):
                # The command in brackets may hold spaces, so the fields are counted from its end.
                if entry.name.isdigit() and _read(f"/proc/{entry.name}/stat").rpartition(b")")[2].split()[1] == me:
                    found.append(int(entry.name))
    return found


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 1 << 20)
    finally:
        os.close(file)


def _prctl(option: int, value: int) -> None:
    # Only Linux has it; elsewhere the pipe and the process group have to do.
    with contextlib.suppress(Exception):
        import ctypes  # noqa: PLC0415  absent in some builds of Python

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
