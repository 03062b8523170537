"""A systemd of our own: PID 1 of new namespaces, on a file system that it can only read, with the units of docs/deploy.

It shares the network with the tests, and nothing else.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

from units import DEPLOY, PROGRAM, SOURCE, make_current, write_release

from serving import wait_until

SYSTEMD = Path("/lib/systemd/systemd")
UNITS = ("eitherway.socket", "eitherway.service", "eitherway-worker@.service")
NEEDED = ("setpriv", "unshare", "nsenter", "mount", "systemctl")

# Run as PID 1 of the new namespaces. {shop} has what is to be at /srv/shop.
OUTER = """
set -e
mount --make-rprivate /
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/{name}
mkdir -p $group
echo 1 > $group/cgroup.procs
exec unshare --cgroup sh -c {inner}
"""
INNER = """
set -e
umount /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mount -t proc none /proc
mount -t tmpfs none /srv
mkdir -p /srv/shop /srv/units /srv/python /srv/packages /srv/source
mount --bind {shop} /srv/shop
mount --bind {units} /srv/units
mount --bind {python} /srv/python
mount --bind {packages} /srv/packages
mount --bind {source} /srv/source
for each in /tmp /var /run; do mount -t tmpfs none $each; done
mkdir -p /run/systemd/system /var/tmp
mount -o remount,bind,ro /
exec env -i container=test PATH="$PATH" SYSTEMD_UNIT_PATH=/srv/units:/lib/systemd/system {systemd} \
    --system --unit=nothing.target --log-target=console --show-status=no
"""
# This Python with its packages, where the units do not hide it; it may be in a home directory.
SERVICES_LOG = "/run/services.log"
LAUNCHER = f"""#!/bin/sh
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/srv/source:/srv/packages LD_LIBRARY_PATH=/srv/python/lib
exec /srv/python/bin/python{sys.version_info[0]}.{sys.version_info[1]} -m eitherway "$@"
"""


def why_not() -> str:
    """Why no systemd can be run here; empty where one can."""
    if os.geteuid():
        return "only root may start a systemd of its own"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    if missing := [each for each in NEEDED if shutil.which(each) is None]:
        return f"{missing[0]} is not installed"
    command = "mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup"
    tried = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", "--cgroup", "sh", "-c", command], capture_output=True, text=True
    )
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """`machine("start", "eitherway.socket")` is systemctl there; `port` is where eitherway.socket listens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shop = directory / "shop"
        self.name = f"eitherway-test-{os.getpid()}"
        self.parent_group = own_group()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._write_units()
        self._write_shop()
        for each in (directory, *directory.parents):
            if each.stat().st_uid == os.getuid() and each != Path(each.anchor):
                each.chmod(each.stat().st_mode | 0o055)  # the service runs as another user
        self.log = (directory / "log").open("w+b")
        self.process = subprocess.Popen(self._command(), stdout=self.log, stderr=self.log)
        wait_until(lambda: self.process.poll() is not None or self._is_up())
        assert self.process.poll() is None, self.text

    def _is_up(self) -> bool:
        return self("is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def _command(self) -> list[str]:
        inner = INNER.format(
            shop=self.shop,
            units=self.directory / "units",
            python=sys.base_prefix,
            packages=sysconfig.get_path("purelib"),
            source=SOURCE,
            systemd=SYSTEMD,
        )
        outer = OUTER.format(name=self.name, inner=shlex.quote(inner))
        spaces = ["--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc"]
        return ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "sh", "-c", outer]  # it ends with the tests

    def _write_units(self) -> None:
        units = self.directory / "units"
        units.mkdir()
        (units / "nothing.target").write_text("[Unit]\nDefaultDependencies=no\n")
        for name in UNITS:
            text = (DEPLOY / name).read_text().replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
            # Users that every machine has; no waiting for a watchdog of half a minute; and no journal is here.
            text = re.sub("^(User|Group)=.*$", r"\1=daemon", text, flags=re.MULTILINE)
            text = text.replace("WatchdogSec=30", "WatchdogSec=4")
            text = text.replace("[Service]\n", f"[Service]\nStandardOutput=append:{SERVICES_LOG}\n")
            (units / name).write_text(text)

    def _write_shop(self) -> None:
        write_release(self.shop, 1)
        make_current(self.shop, 1)
        program = self.shop / Path(PROGRAM).relative_to("/srv/shop")
        program.parent.mkdir(parents=True)
        program.write_text(LAUNCHER)
        program.chmod(0o755)

    @property
    def text(self) -> str:
        """What systemd has said, and the services behind it."""
        self.log.seek(0)
        services = self.root / SERVICES_LOG.lstrip("/")
        said = self.log.read() + (services.read_bytes() if services.exists() else b"")
        return said.decode("utf-8", "replace")

    @property
    def init(self) -> str:
        """The number of its PID 1 outside of it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return (children or ["0"])[0]

    @property
    def root(self) -> Path:
        """Its file system, seen from outside."""
        return Path(f"/proc/{self.init}/root")

    def processes(self, group: str) -> list[str]:
        """The numbers, there, of the processes in a unit's cgroup."""
        file = self._enter("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False)
        return file.stdout.split()

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run systemctl there."""
        return self._enter("systemctl", *arguments, check=check)

    def _enter(self, *command: str, check: bool) -> subprocess.CompletedProcess[str]:
        spaces = ["nsenter", "-t", self.init, "-m", "-p", "-C"]
        done = subprocess.run([*spaces, *command], capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}\n{self.text[-3000:]}"
        return done

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self("show", unit, "-p", name, "--value").stdout.strip()

    def close(self) -> None:
        self.process.kill()  # and with it PID 1 there, and so all others
        self.process.wait()
        self.log.close()
        self._remove_group()

    def _remove_group(self) -> None:
        for group in self._groups():
            wait_until(lambda group=group: _is_removed(group))  # type: ignore[misc]

    def _groups(self) -> list[Path]:
        """Where its cgroup is, in every such file system: beside the one of the process that has made it."""
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        return [
            Path(fields[1]) / self.parent_group.lstrip("/") / self.name for fields in mounts if fields[2] == "cgroup2"
        ]


def own_group() -> str:
    """The path of this process's cgroup, as seen from its own namespace."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")


def _is_removed(group: Path) -> bool:
    """Remove a cgroup with those below it, as far as that goes: processes that were killed may be in it for a moment,
    and others may remove what is in it at the same time."""
    for path, _, _ in os.walk(group, topdown=False):
        try:
            Path(path).rmdir()
        except OSError:
            pass  # it is gone already, or still populated
    return not group.exists()
