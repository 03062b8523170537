"""The servers as a table: how each is started in its best documented configuration with one worker.

In a command `{bin}` is the environment's directory of programs, `{host}` and `{port}` the address, and
`{app}` the application's name in apps.py. Access logs are off everywhere; connections may idle for longer
than any measurement lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

EITHERWAY = "{bin}/python -m eitherway serve apps:{app} --bind {host}:{port} --log-level warning"
GUNICORN = (
    "{bin}/gunicorn apps:{app} --bind {host}:{port} --workers 1 --log-level warning --no-control-socket"
    " --keep-alive 75 --worker-connections 12000"
)
GRANIAN = (
    "{bin}/granian apps:{app} --host {host} --port {port} --workers 1 --http 1 --no-ws --log-level warning"
    " --backlog 2048 --backpressure 12000 --http1-header-read-timeout 60000"
)
UVICORN = (
    "{bin}/uvicorn apps:{app} --host {host} --port {port} --workers 1 --http httptools --interface asgi3"
    " --no-access-log --log-level warning --timeout-keep-alive 75"
)


@dataclass(frozen=True)
class Server:
    """A row of the table."""

    name: str
    interface: str  # "wsgi" or "asgi": which of the applications it runs
    command: str
    distributions: tuple[str, ...]  # what must be installed; the first is the one that gives the version

    @property
    def is_ours(self) -> bool:
        return self.distributions[0] == "eitherway"

    def command_line(self, app: str, directory: str, host: str, port: int) -> list[str]:
        """The command with everything filled in; `app` is "hello" or "sleep"."""
        name = f"{self.interface}_{app}"
        return [part.format(bin=directory, host=host, port=port, app=name) for part in self.command.split()]


def ours(engine: str, interface: str, options: str = "", library: str = "") -> Server:
    """eitherway on one of its engines."""
    name = f"eitherway {engine}" + (" (8)" if "8" in options else "")
    command = f"{EITHERWAY} --engine {engine} {options}".strip()
    return Server(name, interface, command, ("eitherway", *([library] if library else [])))


SYNC = ours("sync", "wsgi")
THREADS = ours("threads", "wsgi", "--threads 8")
GEVENT = ours("gevent", "wsgi", library="gevent")
ASYNCIO = ours("asyncio", "asgi")
UVLOOP = ours("uvloop", "asgi", library="uvloop")

GUNICORN_SYNC = Server("gunicorn sync", "wsgi", f"{GUNICORN} --worker-class sync", ("gunicorn",))
GUNICORN_GTHREAD = Server(
    "gunicorn gthread (8)", "wsgi", f"{GUNICORN} --worker-class gthread --threads 8", ("gunicorn",)
)
GUNICORN_GEVENT = Server("gunicorn gevent", "wsgi", f"{GUNICORN} --worker-class gevent", ("gunicorn", "gevent"))
MEINHELD = Server(
    "Meinheld",
    "wsgi",
    f"{GUNICORN} --worker-class meinheld.gmeinheld.MeinheldWorker",
    ("meinheld", "gunicorn", "greenlet"),
)
GRANIAN_WSGI = Server("Granian WSGI (1)", "wsgi", f"{GRANIAN} --interface wsgi --blocking-threads 1", ("granian",))
GRANIAN_WSGI_8 = Server("Granian WSGI (8)", "wsgi", f"{GRANIAN} --interface wsgi --blocking-threads 8", ("granian",))
GRANIAN_ASGI = Server("Granian ASGI", "asgi", f"{GRANIAN} --interface asgi --loop uvloop", ("granian", "uvloop"))
# Not judged against: what its tasks run in is no asyncio.Task, which much of the field's code asks for.
GRANIAN_RUST_TASKS = Server(
    "Granian ASGI, Rust tasks",
    "asgi",
    f"{GRANIAN} --interface asgi --loop uvloop --task-impl rust",
    ("granian", "uvloop"),
)
UVICORN_UVLOOP = Server("uvicorn", "asgi", f"{UVICORN} --loop uvloop", ("uvicorn", "uvloop", "httptools"))
