"""The servers as a table: how each is started in its best documented configuration, with one worker or with several.

In a command `{bin}` is the environment's directory of programs, `{host}` and `{port}` the address, `{app}` the
application's name in apps.py, and `{workers}` the number of workers. Access logs are off everywhere; connections may
idle for longer than any measurement lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

EITHERWAY = "{bin}/python -m eitherway serve apps:{app} --bind {host}:{port} --workers {workers} --log-level warning"
GUNICORN = (
    "{bin}/gunicorn apps:{app} --bind {host}:{port} --workers {workers} --log-level warning --no-control-socket"
    " --keep-alive 75 --worker-connections 12000"
)
GRANIAN = (
    "{bin}/granian apps:{app} --host {host} --port {port} --workers {workers} --http 1 --no-ws --log-level warning"
    " --backlog 2048 --backpressure 12000 --http1-header-read-timeout 60000"
)
UVICORN = (
    "{bin}/uvicorn apps:{app} --host {host} --port {port} --workers {workers} --http httptools --interface asgi3"
    " --no-access-log --log-level warning --timeout-keep-alive 75"
)
HYPERCORN = "{bin}/hypercorn apps:{app} --bind {host}:{port} --workers {workers} --log-level warning --keep-alive 75"
DAPHNE = "{bin}/daphne apps:{app} --bind {host} --port {port} --verbosity 0"


@dataclass(frozen=True)
class Server:
    """A row of the table."""

    name: str
    interface: str  # "wsgi" or "asgi": which of the applications it runs
    command: str
    distributions: tuple[str, ...]  # what must be installed; the first is the one that gives the version
    workers: int = 1
    programs: tuple[str, ...] = ()  # of the system

    @property
    def is_ours(self) -> bool:
        return self.distributions[0] == "eitherway"

    def command_line(self, app: str, directory: str, host: str, port: int) -> list[str]:
        """The command with everything filled in; `app` is "hello", "sleep", ..."""
        name = f"{self.interface}_{app}"
        filled = {"bin": directory, "host": host, "port": port, "app": name, "workers": self.workers}
        return [part.format(**filled) for part in self.command.split()]

    def by(self, workers: int) -> Server:
        """The same with so many worker processes."""
        return replace(self, name=f"{self.name} -w {workers}", workers=workers)


def ours(engine: str, interface: str, options: str = "", library: str = "") -> Server:
    """eitherway on one of its engines."""
    name = f"eitherway {engine}" + (" (8)" if "8" in options else "")
    command = f"{EITHERWAY} --engine {engine} {options}".strip()
    return Server(name, interface, command, ("eitherway", *([library] if library else [])))


SYNC = ours("sync", "wsgi")
THREADS = ours("threads", "wsgi", "--threads 8")
GEVENT = ours("gevent", "wsgi", library="gevent")
EVENTLET = ours("eventlet", "wsgi", library="eventlet")
ASYNCIO = ours("asyncio", "asgi")
UVLOOP = ours("uvloop", "asgi", library="uvloop")
TRIO = ours("trio", "asgi", library="trio")
TWISTED_WSGI = ours("twisted", "wsgi", "--threads 8", library="twisted")
TWISTED_ASGI = ours("twisted", "asgi", library="twisted")

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
# The script stands beside this file, which is on Python's path.
EVENTLET_WSGI = Server("eventlet.wsgi", "wsgi", "{bin}/python -m own_eventlet {host}:{port} apps:{app}", ("eventlet",))
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
HYPERCORN_TRIO = Server("Hypercorn on Trio", "asgi", f"{HYPERCORN} --worker-class trio", ("hypercorn", "trio"))
TWISTED_WEB = Server(
    "twisted.web WSGIResource (8)",
    "wsgi",
    "{bin}/python -m twisted_web {host}:{port} apps:{app} 8",
    ("twisted",),
)
DAPHNE_ASGI = Server("daphne", "asgi", DAPHNE, ("daphne", "twisted"))

# Applications that bring a server of their own: native_aiohttp.py and its like have both.


def native(framework: str, engine: str) -> Server:
    """eitherway with such an application."""
    command = f"{EITHERWAY} --engine {engine}".replace("apps:{app}", f"native_{framework}:app")
    libraries = (framework, "uvloop") if engine == "uvloop" else (framework,)
    return Server(f"eitherway {engine}, {framework}", framework, command, ("eitherway", *libraries))


def own(framework: str, loop: str = "") -> Server:
    """The framework's own server."""
    name = f"{framework}'s own server" + (f", {loop}" if loop else "")
    command = f"{{bin}}/python -m native_{framework} {{host}}:{{port}} {loop}".strip()
    return Server(name, framework, command, (framework, *([loop] if loop else [])))


AIOHTTP, AIOHTTP_UVLOOP = native("aiohttp", "asyncio"), native("aiohttp", "uvloop")
TORNADO, TORNADO_UVLOOP = native("tornado", "asyncio"), native("tornado", "uvloop")
TWISTED_SITE = native("twisted", "twisted")
AIOHTTP_OWN, AIOHTTP_OWN_UVLOOP = own("aiohttp"), own("aiohttp", "uvloop")
TORNADO_OWN, TORNADO_OWN_UVLOOP = own("tornado"), own("tornado", "uvloop")
TWISTED_OWN = own("twisted")

# With WebSockets, on which Granian's and uvicorn's other rows spend nothing.
UVICORN_SOCKETS = Server(
    "uvicorn, websockets",
    "asgi",
    f"{UVICORN} --loop uvloop --ws websockets-sansio",
    ("uvicorn", "uvloop", "httptools", "websockets"),
)
GRANIAN_SOCKETS = Server(
    "Granian ASGI, WebSocket", "asgi", GRANIAN_ASGI.command.replace(" --no-ws", ""), ("granian", "uvloop")
)
UVLOOP_SOCKETS = replace(
    UVLOOP, name="eitherway uvloop, WebSocket", distributions=(*UVLOOP.distributions, "websockets")
)

# Several worker processes. The scripts stand beside this file, which is on Python's path.
NGINX_GUNICORN = Server(
    "nginx + gunicorn sync",
    "wsgi",
    "{bin}/python -m behind_nginx {host}:{port} " + GUNICORN.replace("{host}:{port}", "unix:gunicorn-{port}.sock"),
    ("gunicorn",),
    programs=("nginx",),
)
SYNC_4 = SYNC.by(4)
SYNC_4_KERNEL = replace(SYNC_4, name=f"{SYNC_4.name}, --balance kernel", command=f"{SYNC.command} --balance kernel")
THREADS_2 = THREADS.by(2)
UVLOOP_2 = UVLOOP.by(2)
UVLOOP_4 = UVLOOP.by(4)
GUNICORN_SYNC_4 = GUNICORN_SYNC.by(4)
NGINX_GUNICORN_4 = NGINX_GUNICORN.by(4)
GUNICORN_GTHREAD_2 = GUNICORN_GTHREAD.by(2)
GUNICORN_GTHREAD_4 = GUNICORN_GTHREAD.by(4)
UVICORN_2 = UVICORN_UVLOOP.by(2)
UVICORN_4 = UVICORN_UVLOOP.by(4)
GRANIAN_ASGI_2 = GRANIAN_ASGI.by(2)
GRANIAN_ASGI_4 = GRANIAN_ASGI.by(4)
