"""The command `eitherway compare`: its options, its output, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eitherway.cli import main
from eitherway.errors import LabError
from eitherway.lab.commands import command_line, requests_of
from eitherway.lab.observe import descendants
from serving import APPS, PATIENCE, wait_until

COMPARE = [sys.executable, "-m", "eitherway", "compare"]
SHORT = ["--chdir", str(APPS), "--engines", "sync,threads", "--threads", "8", "--duration", "0.2", "--rounds", "1"]


def run(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMPARE, *words], cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_a_comparison_prints_a_table_and_a_verdict_and_leaves_a_report(tmp_path: Path) -> None:
    done = run(
        tmp_path, "compared:fine", "/a", "/b", *SHORT, "--concurrency", "1,6", "-o", "r.html", "--json", "r.json"
    )
    assert done.returncode == 0, done.stderr
    assert "threads, 8 threads" in done.stdout and "eitherway serve compared:fine" in done.stdout
    assert "r.html" in done.stdout.splitlines()[-1]
    assert "round 1: sync" in done.stderr, "plain lines where there is no terminal"
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["complete"] and found["requests"] == ["GET /a", "GET /b"]
    assert [each["name"] for each in found["configurations"]] == ["sync", "threads, 8 threads"]
    assert found["command"].startswith("eitherway compare compared:fine /a /b")
    page = (tmp_path / "r.html").read_text()
    assert "threads, 8 threads" in page and len(page) < 500_000


def test_ctrl_c_leaves_no_process_and_an_incomplete_result(tmp_path: Path) -> None:
    command = [*COMPARE, "compared:fine", *SHORT, "--engines", "threads", "--rounds", "50", "--concurrency", "1"]
    command += ["--json", "r.json"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("round 2: threads"):
                break
        wait_until(lambda: descendants(process.pid))
        started = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))
    found = json.loads((tmp_path / "r.json").read_text())
    assert not found["complete"] and all(each["points"] for each in found["configurations"])
    assert "broken off" in out


def test_term_ends_it_as_ctrl_c_does(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMPARE, "compared:fine", *SHORT, "--engines", "threads", "--rounds", "50"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("round 1: threads"))
        wait_until(lambda: descendants(process.pid))
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "compare what? name an application, such as shop:app, or a --workload, such as io:50ms"),
        (["shop:app", "products"], "'products' is no target"),
        (["shop:app", "/two words"], "'/two words' is no target"),
        (["shop:app", "--engines", "greenlets"], "there is no engine 'greenlets'; name some of sync,threads,"),
        (["shop:app", "--threads", "8,x"], "'8,x' is not a list of whole numbers"),
        (["shop:app", "--concurrency", "0"], "'0' is not a list of whole numbers"),
        (["shop:app", "--duration", "1ms"], "'1ms' is not a time between 50ms and 1h"),
        (["shop:app", "-H", "nonsense"], "-H: 'nonsense' is no header field; write 'Name: value'"),
        (["shop:app", "--post", "/x", "@missing.json"], "--post: cannot read missing.json: No such file"),
        (["shop:app", "-o", "no/such/place.html"], "cannot write no/such/place.html"),
        (["shop:app", "--pool", "5"], "--dsn and --pool belong to --workload db"),
        (["--workload", "io:soon"], "--workload: there is no 'io:soon'; name io:50ms, cpu:5ms, mixed, db or upstream"),
        (["--workload", "disk"], "--workload: there is no 'disk'"),
        (["shop:app", "--workload", "io:5ms"], "--workload brings its own applications"),
        (["--workload", "db", "--dsn", "host=/nowhere"], "--dsn: the database cannot be used"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) in (1, 2)
    said = capsys.readouterr().err
    assert line in said and len(said.splitlines()) == 1


def test_an_application_that_cannot_be_compared_is_one_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "compared:login", *SHORT]) == 1
    assert capfd.readouterr().err == (
        "each is started once, and must answer right\n"
        "eitherway: GET / needs a login (401); give what it asks for, such as -H 'Authorization: Bearer ...' or "
        "-H 'Cookie: ...'\n"
    )


def test_nothing_to_rank_is_exit_code_1_and_no_report(tmp_path: Path) -> None:
    done = run(tmp_path, "compared:broken", *SHORT)
    assert done.returncode == 1
    assert "GET / answers 500" in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_the_application_may_stand_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "eitherway.toml").write_text('app = "compared:fine"\n')
    done = run(tmp_path, "/a", *SHORT, "--concurrency", "1", "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["title"] == "compared:fine"


# ---- requests ----


def test_targets_posts_and_fields_become_requests(tmp_path: Path) -> None:
    order = tmp_path / "order.json"
    order.write_text('{"tea": 1}')
    get, post = requests_of(("/products",), (("/orders", f"@{order}"),), ("Authorization: Bearer key", "X-A:1"))
    assert (get.method, get.target, get.headers, get.body) == (
        "GET", "/products", (("Authorization", "Bearer key"), ("X-A", "1")), b""
    )  # fmt: skip
    assert (post.method, post.target, post.body) == ("POST", "/orders", b'{"tea": 1}')
    assert post.headers[-1] == ("Content-Type", "application/json")


def test_a_form_is_a_form_and_a_given_type_stays() -> None:
    assert requests_of((), (("/f", "a=1&b=2"),), ())[0].headers == (
        ("Content-Type", "application/x-www-form-urlencoded"),
    )
    assert requests_of((), (("/f", "{}"),), ("content-type: text/x",))[0].headers == (("content-type", "text/x"),)


def test_without_a_target_the_root_is_asked() -> None:
    assert [(each.method, each.target) for each in requests_of((), (), ())] == [("GET", "/")]


def test_a_field_cannot_carry_another_one() -> None:
    with pytest.raises(LabError, match="is no header field"):
        requests_of((), (), ("X-A: 1\r\nX-B: 2",))


def test_the_command_that_repeats_it_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "eitherway",
        "compare",
        "shop:app",
        "/a b",
        "-H",
        "Authorization: Bearer key",
        "-HCookie: id=7",
        "-H",
        "X-A: 1",
    ]
    monkeypatch.setattr(sys, "argv", words)
    line = command_line()
    assert "key" not in line and "id=7" not in line
    assert line.startswith("eitherway compare shop:app '/a b' -H ") and "X-A: 1" in line
