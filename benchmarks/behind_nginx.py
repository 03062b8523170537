"""nginx before another server, as one command: `behind_nginx HOST:PORT COMMAND...`, which is a server on a Unix socket.

The configuration is the one that gunicorn's documentation gives, without access logs. Ends when either of them does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PATH_PREFIX = "unix:"
LOOK_SECONDS = 0.1
CONFIGURATION = """
daemon off;
{user}
worker_processes {processes};
pid {directory}/nginx-{port}.pid;
error_log stderr crit;
events {{ worker_connections 4096; accept_mutex off; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body-{port};
    proxy_temp_path {directory}/proxy-{port};
    fastcgi_temp_path {directory}/fastcgi-{port};
    uwsgi_temp_path {directory}/uwsgi-{port};
    scgi_temp_path {directory}/scgi-{port};
    upstream app_server {{ server unix:{socket} fail_timeout=0; }}
    server {{
        listen {address} backlog=2048;
        location / {{
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Host $http_host;
            proxy_redirect off;
            proxy_pass http://app_server;
        }}
    }}
}}
"""


def main() -> int:
    address, *command = sys.argv[1:]
    directory = Path.cwd()
    socket = next(word for word in command if word.startswith(PATH_PREFIX)).removeprefix(PATH_PREFIX)
    port = address.rpartition(":")[2]
    file = directory / f"nginx-{port}.conf"
    file.write_text(
        CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",  # who may write to the socket then
            processes=len(os.sched_getaffinity(0)),
            directory=directory,
            port=port,
            socket=directory / socket,
            address=address,
        )
    )
    nginx = ["nginx", "-p", str(directory), "-c", str(file)]
    started = [subprocess.Popen(command)]
    while not (directory / socket).exists() and started[0].poll() is None:
        time.sleep(LOOK_SECONDS)  # else nginx would answer 502 at first
    started.append(subprocess.Popen(nginx))
    while all(each.poll() is None for each in started):
        time.sleep(LOOK_SECONDS)
    for each in started:
        if each.poll() is None:
            each.terminate()
    return max(each.wait() for each in started)


if __name__ == "__main__":
    sys.exit(main())
