"""Logs that cannot be written: serving goes on, and goes on being supervised."""

from __future__ import annotations

import os
from collections.abc import Iterator

import faults
import pytest
from production import StartSite, resident

from load import Load
from serving import wait_until

BALANCES = ["request", "kernel"]


@pytest.mark.parametrize("balance", BALANCES)
def test_a_full_disk_under_the_access_log(start_site: StartSite, balance: str) -> None:
    site = start_site("supervised:app", "threads", 2, "--balance", balance, "--access-log", "/dev/full")
    with Load(site) as load:
        load.wait_for(500)
        held = {pid: resident(pid) for pid in site.processes()}
        load.wait_for(2000)
        assert all(resident(pid) < size + (4 << 20) for pid, size in held.items())
        faults.reload(site)
        load.wait_for(50)
    assert load.failures == []
    assert set(load.statuses) == {200}
    assert "No space left on device" in site.log
    assert site.log.count("\n") < 40  # said, and not for every request


@pytest.mark.parametrize("balance", BALANCES)
def test_an_access_log_that_was_deleted_is_made_again(start_site: StartSite, balance: str) -> None:
    site = start_site("supervised:app", "sync", 2, "--balance", balance, "--access-log", "../logs/access")
