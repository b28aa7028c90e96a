"""`schedctl` as a process: the live screen in a terminal of its own, following over a restart, TLS, pipes."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scheduler_server.worker import Worker
from tests.contract.command_lines import lines_of, next_line, served

DEADLINE_S = 20.0
COMMAND = [sys.executable, "-m", "scheduler_server.schedctl"]
ENVIRONMENT = {**os.environ, "SCHEDCTL_CONFIG": "/nowhere", "TERM": "xterm", "NO_COLOR": ""}
ENVIRONMENT.pop("COLUMNS", None)


def contains(said: str, shown: str) -> bool:
    return said in shown


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal of so many columns and lines, and a command in it."""

    def __init__(self, *words: str, columns: int = 80, lines: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        self.found = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.written = b""

        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", _TAKE_TERMINAL, *COMMAND, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, shown: Callable[[str], Any], what: str) -> str:
        """Wait until the last whole frame is as wanted."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            self._read(0.1)
            if shown(self.frame()):
                return self.frame()
        raise AssertionError(f"not shown: {what}\n{self.frame()}\n{self.written[-2_000:]!r}")

    def frame(self) -> str:
        """What is on the screen: each frame is drawn whole, from the top."""
        drawn = self.written.decode(errors="replace").split("\x1b[H")
        whole = [each for each in drawn if "\x1b[J" in each]
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", whole[-1].partition("\x1b[J")[0]) if whole else ""

    def end(self) -> int:
        """Wait for its end; answers the exit code."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it goes on\n{self.frame()}"
            self._read(0.05)
        self._read(0.05)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)

    def _read(self, timeout_s: float) -> None:
        while select.select([self._ours], [], [], timeout_s)[0]:
            try:
                self.written += os.read(self._ours, 65_536)
            except OSError:
                return
            timeout_s = 0.0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as made:
        yield made


@contextmanager
def workers(address: str, *names: str) -> Iterator[None]:
    """Workers that are there while this lasts."""
    made = [Worker(address, worker_id=name, slots=2) for name in names]
    for each in made:
        each.start()
    try:
        yield
    finally:
        for each in made:
            each.stop()
        for each in made:
            assert each.wait(DEADLINE_S)


def test_top_shows_the_fleet_goes_into_a_worker_filters_and_gives_the_terminal_back(address: str) -> None:
    with workers(address, "alpha", "beta"), closing(Terminal("top", "-s", address, "--interval", "0.2s")) as screen:
        shown = screen.until(lambda shown: "alpha" in shown and "beta" in shown, "both workers")
        assert address in shown
        assert "2: 2 healthy" in shown
        assert termios.tcgetattr(screen.theirs) != screen.found
        screen.type("s" * 12)  # round to the sort by id
        screen.until(lambda shown: "by id" in shown, "sorted by id")
        screen.type("j\r")
        screen.until(lambda shown: re.search(r"^worker +beta", shown, re.MULTILINE), "beta's page")
        screen.type("\x1b")
        screen.until(lambda shown: "> beta" in shown, "the list, at beta's line")
        screen.type("/alp\r")
        screen.until(lambda shown: "alpha" in shown and "beta" not in shown, "only alpha")
        for key, said in [("2", "expected starts"), ("3", "no decisions"), ("4", "TASK TYPE"), ("5", "connected")]:
            screen.type(key)
            screen.until(partial(contains, said), said)
        screen.resize(100, 30)
        os.kill(screen.process.pid, signal.SIGWINCH)
        screen.until(lambda shown: len(shown.split("\n")) == 30, "30 lines")
        screen.type("q")
        assert screen.end() == 0
        assert termios.tcgetattr(screen.theirs) == screen.found
        assert screen.written.endswith(b"\x1b[?7h\x1b[?25h\x1b[?1049l")


@pytest.mark.parametrize(
    ("end", "code"),
    [("\x03", 128 + signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_top_gives_the_terminal_back_when_it_is_ended_from_outside(address: str, end: str | int, code: int) -> None:
    with closing(Terminal("top", "-s", address)) as screen:
        screen.until(lambda shown: "serving" in shown, "the header")
        screen.type(end) if isinstance(end, str) else screen.process.send_signal(end)
        assert screen.end() == code
        assert termios.tcgetattr(screen.theirs) == screen.found
        assert screen.written.endswith(b"\x1b[?1049l")


def test_top_gives_the_terminal_back_while_it_is_stopped(address: str) -> None:
    with closing(Terminal("top", "-s", address)) as screen:
        screen.until(lambda shown: "serving" in shown, "the header")
        screen.process.send_signal(signal.SIGTSTP)
        stat = Path(f"/proc/{screen.process.pid}/stat")
        screen.until(lambda _: stat.read_text().rpartition(")")[2].split()[0] == "T", "stopped")
        assert termios.tcgetattr(screen.theirs) == screen.found
        assert screen.written.endswith(b"\x1b[?1049l")
        screen.written = b""
        screen.process.send_signal(signal.SIGCONT)
        screen.until(lambda shown: "serving" in shown, "the header again")
        assert b"\x1b[?1049h" in screen.written
        screen.type("q")
        assert screen.end() == 0


def test_top_says_what_is_wrong_when_the_server_goes_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with closing(Terminal("top", "-s", f"127.0.0.1:{port}", "--interval", "0.2s")) as screen:
        screen.until(lambda shown: "cannot reach" in shown, "no server yet")
        with _server(port, tmp_path):
            screen.until(lambda shown: "serving" in shown and "cannot reach" not in shown, "the server")
        screen.until(lambda shown: "cannot reach" in shown and " old: " in shown, "gone, with the age of what is seen")
        screen.type("q")
        assert screen.end() == 0


@contextmanager
def _server(port: int, folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "scheduler_server", "serve", "--server-listen", f"127.0.0.1:{port}"]
    command += ["--storage-state-folder", str(folder), "--log-level", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "serving on" in process.stdout.readline()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_events_are_followed_over_a_restart_of_the_server_and_what_is_missing_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with _server(port, tmp_path):
        follower = subprocess.Popen(
            [*COMMAND, "events", "-f", "-s", address], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert follower.stdout is not None
        assert follower.stderr is not None
        said, notes = lines_of(follower.stdout), lines_of(follower.stderr)
        with workers(address, "first"):
            while "first" not in next_line(said):
                pass
    assert "trying again" in next_line(notes)
    with _server(port, tmp_path):
        assert "events are missing here" in next_line(notes)
        with workers(address, "second"):
            while "second" not in next_line(said):
                pass
        follower.send_signal(signal.SIGINT)
        assert follower.wait(DEADLINE_S) == 130
        assert "go on with: schedctl events -f --resume" in next_line(notes)
    follower.stdout.close()
    follower.stderr.close()


def test_a_reader_that_goes_away_is_no_fault(address: str) -> None:
    listed = " ".join([*COMMAND, "status", "-s", address, "-o", "json"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {listed} | head -n 1"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


@pytest.mark.parametrize(
    ("options", "environment", "coloured"),
    [((), {}, True), ((), {"NO_COLOR": "1"}, False), ((), {"TERM": "dumb"}, False), (("--color", "never"), {}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    address: str, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], environment: dict[str, str], coloured: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    with closing(Terminal("status", "-s", address, *options)) as screen:
        assert screen.end() == 0
        assert (b"\x1b[" in screen.written) == coloured
    piped = subprocess.run([*COMMAND, "status", "-s", address], capture_output=True, env=ENVIRONMENT, check=True)
    assert b"\x1b" not in piped.stdout


def test_a_tab_in_bash_completes(address: str) -> None:
    script = f"""
    schedctl() {{ {" ".join(COMMAND)} "$@"; }}
    source <(schedctl completion bash)
    COMP_WORDS=(schedctl workers --sort lo) COMP_CWORD=3
    _schedctl
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout == "load\n"


def test_the_script_for_zsh_is_one_and_completes() -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed here, so what it makes of its script was not looked at")
    script = f"""
    schedctl() {{ {" ".join(COMMAND)} "$@"; }}
    compdef() {{ :; }}
    compadd() {{ print -l -- "$@[2,-1]"; }}
    source <(schedctl completion zsh)
    words=(schedctl workers --sort lo) CURRENT=4
    _schedctl
    """
    done = subprocess.run([zsh, "-fc", script], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert done.stdout == "load\n"


# ---------------------------------------------------------------------- TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed here, so TLS was not looked at")
    key, made = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", made]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


@contextmanager
def tls_before(address: str, certificate: tuple[str, str]) -> Iterator[int]:
    """A port that ends TLS and passes on to the real server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[1], certificate[0])
    context.set_alpn_protocols(["h2"])
    host, port = address.rsplit(":", 1)
    over = threading.Event()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            try:
                plain, _ = listener.accept()
            except TimeoutError:
                continue
            try:
                taken = context.wrap_socket(plain, server_side=True)
            except OSError:
                continue
            onward = socket.create_connection((host, int(port)))
            threads = [threading.Thread(target=pump, args=ends) for ends in ((taken, onward), (onward, taken))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE_S)
            taken.close()
            onward.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            accepting.join(DEADLINE_S)


def test_tls_is_spoken_where_it_is_asked_for_and_what_is_wrong_is_told(
    address: str, certificate: tuple[str, str]
) -> None:
    def ctl(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*COMMAND, "health", *words], capture_output=True, text=True, env=ENVIRONMENT, check=False
        )
        return done.returncode, done.stdout, done.stderr

    ca = ["--ca-file", certificate[1]]
    with tls_before(address, certificate) as port:
        assert ctl("-s", f"localhost:{port}", *ca) == (0, "serving\n", "")
        assert ctl("-s", f"127.0.0.1:{port}", *ca, "--tls-name", "localhost") == (0, "serving\n", "")
        for words, said in [
            (["-s", f"localhost:{port}", "--tls"], "its certificate is not trusted"),
            (["-s", f"127.0.0.1:{port}", *ca], "its certificate is for another name"),
            (["-s", f"localhost:{port}"], "do both sides use TLS, or neither?"),
            (["-s", address, *ca], "is it plaintext, without --tls?"),
        ]:
            code, out, complaint = ctl(*words)
            assert (code, out) == (1, "")
            assert said in complaint, complaint
            assert len(complaint.splitlines()) == 1
