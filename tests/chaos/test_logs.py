"""Logs that cannot be written: serving goes on, and goes on being supervised."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import faults
import pytest
from production import StartSite, resident

from eitherway.metrics.pipes import StderrHandler
from load import Load
from serving import wait_until

BALANCES = ["request", "kernel"]


@pytest.mark.parametrize("balance", BALANCES)
def test_a_full_disk_under_the_access_log(start_site: StartSite, balance: str) -> None:
    site = start_site("supervised:app", "threads", 2, "--balance", balance, "--access-log", "/dev/full")
    with Load(site) as load:
        load.wait_for(300)
        held = {pid: resident(pid) for pid in site.processes()}
        load.wait_for(1000)
        assert all(resident(pid) < size + (4 << 20) for pid, size in held.items())
        faults.reload(site)
        load.wait_for(50)
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert "No space left on device" in site.log
    assert site.log.count("\n") < 40  # said, and not for every request


@pytest.mark.parametrize("balance", BALANCES)
def test_an_access_log_that_was_deleted_is_made_again(start_site: StartSite, tmp_path: Path, balance: str) -> None:
    log = tmp_path / "logs" / "access"
    log.parent.mkdir()
    site = start_site("supervised:app", "sync", 2, "--balance", balance, "--access-log", str(log))
    with Load(site) as load:
        log.unlink()
        load.wait_for(20)
        wait_until(lambda: log.exists() and log.stat().st_size)
        log.parent.rename(tmp_path / "gone")  # at once: what is deleted file by file is made again meanwhile
        load.wait_for(200)
        log.parent.mkdir()
        load.wait_for(20)
        wait_until(lambda: log.exists() and log.stat().st_size)
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert "cannot write the access log" in site.log
    assert site.log.count("\n") < 40


@pytest.mark.parametrize("balance", BALANCES)
def test_an_access_log_goes_on_when_its_disk_has_room_again(
    start_site: StartSite, tmp_path: Path, balance: str
) -> None:
    log = tmp_path / "access"
    log.symlink_to("/dev/full")
    site = start_site("supervised:app", "threads", 2, "--balance", balance, "--access-log", str(log))
    with Load(site) as load:
        site.wait_logged("cannot write the access log")
        log.unlink()  # as an operator does in need of room
        wait_until(lambda: log.exists() and log.stat().st_size)
    assert load.failures == []
    assert set(load.statuses) == {200}


@pytest.mark.parametrize("balance", BALANCES)
def test_every_request_has_one_line_in_the_access_log(start_site: StartSite, tmp_path: Path, balance: str) -> None:
    log = tmp_path / "access"
    site = start_site("supervised:app", "sync", 2, "--balance", balance, "--access-log", str(log))
    for number in range(5):
        assert site.ask(f"/{number}") == 200
    site.stop()
    lines = log.read_text().splitlines()
    assert len(lines) == 5
    assert all(line.startswith("127.0.0.1 ") for line in lines)


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("stream", ["a broken pipe", "a full disk"])
def test_a_stderr_that_cannot_be_written(start_site: StartSite, balance: str, stream: str) -> None:
    site = start_site("supervised:app", "threads", 2, "--balance", balance, stderr=unwritable(stream))
    with Load(site) as load:
        assert site.ask("/fail") == 500  # has a traceback to tell
        faults.reload(site)
        faults.kill_worker(site)
        if balance == "request":
            faults.kill_balancer(site)
        load.wait_for(50)
    assert set(load.statuses) == {200}
    assert load.unanswered <= 16  # of the processes that were killed
    site.stop()


def test_a_stderr_that_is_not_read(start_site: StartSite) -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    site = start_site("supervised:app", "threads", 2, stderr=writing)
    try:
        with Load(site) as load:
            for _ in range(8):  # their tracebacks fill it
                assert site.ask("/fail") == 500
            faults.kill_worker(site)
            load.wait_for(20)
        assert set(load.statuses) == {200}
        site.stop()
    finally:
        os.close(reading)


def test_lines_that_were_lost_are_counted() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with open(reading, "rb", buffering=0) as pipe, open(writing, "w") as stream:
        handler = StderrHandler()
        handler.setStream(stream)
        for number in range(6):
            handler.handle(logging.makeLogRecord({"msg": f"{number} {'x' * 1500}"}))
        assert pipe.read(4096).startswith(b"0 xxx")
        handler.handle(logging.makeLogRecord({"msg": "there is room"}))
        handler.handle(logging.makeLogRecord({"msg": "and still"}))
        assert pipe.read(4096) == b"4 lines of this log were lost: nobody read them\nthere is room\nand still\n"


def unwritable(stream: str) -> int:
    """A descriptor that nothing can be written to."""
    if stream == "a full disk":
        return os.open("/dev/full", os.O_WRONLY)
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_number_that_an_application_has_given_to_another_file_is_not_written_to(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    handler = StderrHandler()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "w") as stream, open(tmp_path / "other", "w") as other:
        handler.setStream(stream)
        handler.emit(logging.makeLogRecord({"msg": "one"}))
        os.dup2(other.fileno(), handler._pipe)
        handler.emit(logging.makeLogRecord({"msg": "two"}))
        assert pipe.read(4096) == b"one\ntwo\n"
    assert (tmp_path / "other").read_text() == ""
