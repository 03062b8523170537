"""nginx and HAProxy as processes, with a configuration of docs/deploy/; for tests of the balancer and of deploying."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from serving import PATIENCE, Client, wait_until

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"

# What Debian's nginx.conf is around the files in conf.d.
NGINX = """
daemon off;
{user}
worker_processes 2;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {file};
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


class Proxy:
    """`name` is nginx or haproxy, `kind` as-balancer or in-front; in that configuration `places` are replaced."""

    def __init__(self, name: str, kind: str, directory: Path, places: dict[str, str], port: int) -> None:
        self.port = port
        source = DEPLOY / f"{name}-{kind}{'.conf' if name == 'nginx' else '.cfg'}"
        text = source.read_text()
        for there, here in places.items():
            assert there in text, f"{source.name} has no {there}"
            text = text.replace(there, here)
        file = directory / source.name
        file.write_text(text)
        command = ["haproxy", "-db", "-f", str(file)]
        if name == "nginx":
            user = "user root;" if os.geteuid() == 0 else ""  # the tests' sockets are root's then
            main = directory / "nginx.conf"
            main.write_text(NGINX.format(user=user, directory=directory, file=file))
            command = ["nginx", "-p", str(directory), "-c", str(main)]
        self._log = (directory / f"{name}.log").open("w+b")
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def wait_ready(self) -> None:
        wait_until(lambda: self._answers() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log

    def _answers(self) -> bool:
        try:
            self.connect().socket.close()
        except OSError:
            return False
        return True

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode()

    def connect(self) -> Client:
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE)
        self._log.close()
