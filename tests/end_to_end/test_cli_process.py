"""The command as the shell sees it: exit codes, the two outputs, signals, pipes, terminals, encodings, secrets."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from certferry.lab.keys import PooledKeys
from certferry.trust.purpose import Purpose
from command_line import (
    COMMAND,
    Background,
    certferry,
    certferry_process,
    heed_ctrl_c,
    ignore_ctrl_c,
    loopback_cluster,
    wait_until,
)
from sftp_servers import lab_sftp

CTRL_C = b"\x03"
PASSWORD = "careful-with-that-axe"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, key_pool: PooledKeys) -> Path:
    folder = tmp_path_factory.mktemp("process") / "cluster"
    loopback_cluster(folder, key_pool).close()
    return folder


def test_data_goes_to_standard_output_and_refusals_to_standard_error(cluster: Path) -> None:
    shown = certferry_process("cluster", "show", "--cluster", cluster)
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.stdout.startswith("source  release 11.5.1")
    refused = certferry_process("cluster", "show", "--cluster", cluster / "nowhere")
    assert (refused.code, refused.stdout) == (1, "")
    assert len(refused.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [([], 0), (["--help"], 0), (["--version"], 0), (["bulk"], 2), (["nonsense"], 2), (["phone", "add"], 2)],
)
def test_usage_ends_with_0_or_2(words: list[str], code: int) -> None:
    ended = certferry(*words)
    assert ended.code == code
    assert bool(ended.stdout) == (code == 0)
    if code == 2:
        assert "--help" in ended.stderr.splitlines()[-1]


def test_wrong_usage_is_one_json_object_too() -> None:
    ended = certferry("bulk", "export", "everything", "--json")
    assert ended.code == 2
    assert ended.error["code"] == "cli.usage"
    assert "'everything' is not one of 'all', 'tomcat'" in ended.error["sentence"]
    assert ended.error["remedy"].endswith("certferry bulk export --help")


def test_cluster_and_json_stand_before_or_after_the_noun(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = certferry("cluster", "show", "--cluster", cluster, "--json").json
    assert certferry("--cluster", cluster, "--json", "cluster", "show").json == after
    monkeypatch.setenv("CERTFERRY_CLUSTER", str(cluster))
    assert certferry("cluster", "show", "--json").json == after


def test_what_is_typed_counts_more_than_the_environment(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTFERRY_CLUSTER", "/nowhere")
    assert certferry("--cluster", cluster, "cluster", "show").code == 0
    assert certferry("cluster", "show", "--cluster", cluster).code == 0
    monkeypatch.setenv("CERTFERRY_CLUSTER", "")
    assert certferry("cluster", "show", "--json").error["code"] == "cli.cluster-unnamed"


def test_a_reader_that_goes_away_is_no_failure(cluster: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = [*COMMAND, "cert", "list", "--cluster", str(cluster)]
    done = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, check=False, timeout=180)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("number", "begin"),
    [(signal.SIGINT, heed_ctrl_c), (signal.SIGTERM, heed_ctrl_c), (signal.SIGTERM, ignore_ctrl_c)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM in the background of a shell"],
)
def test_an_interrupted_command_ends_with_130_and_puts_everything_away(
    number: signal.Signals, begin: Callable[[], None], tmp_path: Path
) -> None:
    words = [*COMMAND, "demo", "--phones", "1", "--nodes", "1", "--non-secure", "--json"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=begin,  # noqa: PLW1509 -- so that the command begins as a shell would begin it
    ) as process:
        assert process.stderr is not None
        while b"Two clusters" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(number)
        out, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert b'"code": "cli.interrupted"' in out
    assert b"Traceback" not in err
    assert not list(tmp_path.glob("certferry-demo-*"))


def test_nothing_blinks_in_a_pipe(cluster: Path) -> None:
    for words in (["cert", "list"], ["cert", "show", "nothing"]):
        ended = certferry_process("--cluster", cluster, *words, env={"TERM": "xterm-256color"})
        assert "\x1b" not in ended.stdout + ended.stderr


def on_terminal(*words: object, answer: bytes = b"", env: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Run a command on a terminal of its own; return how it ended and all it wrote."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **(env or {})}
    command = [*COMMAND, *map(str, words)]
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 -- so that Ctrl-C reaches the command
    ) as process:  # fmt: skip
        os.close(child)
        overdue = threading.Timer(120, process.kill)
        overdue.start()
        seen = b""
        while chunk := _read(parent):
            seen += chunk
            if answer and seen.rstrip().endswith((b"[y/N]:", b"password:")):
                if seen.rstrip().endswith(b"password:"):
                    wait_until(lambda: not termios.tcgetattr(parent)[3] & termios.ECHO)  # typed sooner, it is dropped
                wait_until(lambda: is_waiting(process.pid))
                press(parent, answer)
                answer = b""
        overdue.cancel()
    os.close(parent)
    return process.returncode, seen


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_ctrl_c()


def is_waiting(pid: int) -> bool:
    """Whether a process sleeps: one that has asked waits for the answer."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def press(terminal: int, keys: bytes) -> None:
    """Type; Ctrl-C again and again until the command says something, for ``input()`` misses one that comes too soon."""
    if keys == CTRL_C:
        modes = termios.tcgetattr(terminal)
        modes[3] &= ~termios.ECHO  # the terminal's own ^C is no word of the command
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
    os.write(terminal, keys)
    while keys == CTRL_C and not select.select([terminal], [], [], 10)[0]:
        os.write(terminal, keys)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed: the command is over
        return b""


def test_a_terminal_has_colours_unless_somebody_wants_none(tmp_path: Path) -> None:
    code, colourful = on_terminal("cluster", "show", "--cluster", tmp_path)
    assert code == 1
    assert b"\x1b[1;31mrefused" in colourful
    _, plain = on_terminal("cluster", "show", "--cluster", tmp_path, env={"NO_COLOR": "1"})
    assert b"31m" not in plain


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 1), (b"y\n", 0), (CTRL_C, 130)], ids=["no", "yes", "Ctrl-C"])
def test_a_question_on_a_terminal_is_answered_there(
    answer: bytes, code: int, tmp_path: Path, key_pool: PooledKeys
) -> None:
    made = loopback_cluster(tmp_path / "own", key_pool)
    before = made.identity(Purpose.TOMCAT).certificate
    ended, seen = on_terminal("cert", "regenerate", "tomcat", "--cluster", tmp_path / "own", answer=answer)
    assert ended == code
    assert b"Replace tomcat of source-pub" in seen
    assert (made.identity(Purpose.TOMCAT).certificate == before) == (code != 0)


def test_a_password_typed_at_the_prompt_is_not_shown(tmp_path: Path, key_pool: PooledKeys) -> None:
    loopback_cluster(tmp_path / "own", key_pool).close()
    with closing(Background()) as background, background.entered(lab_sftp(tmp_path, "certferry", PASSWORD)) as server:
        host, port = server.address
        words = ["bulk", "sftp", "--host", host, "--port", port, "--user", "certferry", "--directory", "/exchange"]
        words += ["--accept-new-host-key", "--cluster", str(tmp_path / "own")]
        code, seen = on_terminal(*words, answer=f"{PASSWORD}\n".encode(), env={"HOME": str(tmp_path)})
    assert code == 0
    assert b"SFTP password:" in seen
    assert PASSWORD.encode() not in seen


def test_a_password_is_never_among_the_arguments() -> None:
    helps = [certferry("bulk", verb, "--help").stdout for verb in ("sftp", "export", "consolidate", "import")]
    assert all("--password " not in text for text in helps)
    assert "--password-file" in helps[0]


def test_control_characters_of_strangers_reach_no_terminal(cluster: Path) -> None:
    code, seen = on_terminal("trustlist", "show", "\x1b]0;owned\x07", env={"NO_COLOR": "1"})
    assert code == 1
    assert b"\x1b]0;owned" not in seen
    assert rb"\u001b]0;owned\u0007" in seen


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_of_the_output_carries_japanese(encoding: str, tmp_path: Path, key_pool: PooledKeys) -> None:
    at = ["--cluster", tmp_path / "own"]
    loopback_cluster(tmp_path / "own", key_pool).close()
    (tmp_path / "phones.csv").write_text("device,description\nSEP001122334455,受付 1階\n", encoding="utf-8")
    assert certferry("phone", "import", tmp_path / "phones.csv", *at).code == 0
    as_json = ["--json"] if encoding == "ascii" else []
    ended = certferry_process("phone", "list", *at, *as_json, env={"PYTHONIOENCODING": encoding}, encoding=encoding)
    assert ended.code == 0
    assert rb"\u53d7\u4ed8".decode() in ended.stdout
    assert not as_json or ended.json["phones"][0]["description"] == "受付 1階"
