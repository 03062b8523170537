"""What is measured and what is asked of it: loads, groups of servers that stand side by side, targets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from apps import LONG_SECONDS, SHORT_SECONDS, WAIT_SECONDS
from servers import (
    AIOHTTP,
    AIOHTTP_OWN,
    AIOHTTP_OWN_UVLOOP,
    AIOHTTP_UVLOOP,
    ASYNCIO,
    DAPHNE_ASGI,
    EVENTLET,
    EVENTLET_WSGI,
    GEVENT,
    GRANIAN_ASGI,
    GRANIAN_ASGI_2,
    GRANIAN_ASGI_4,
    GRANIAN_RUST_TASKS,
    GRANIAN_SOCKETS,
    GRANIAN_WSGI,
    GRANIAN_WSGI_8,
    GUNICORN_GEVENT,
    GUNICORN_GTHREAD,
    GUNICORN_GTHREAD_2,
    GUNICORN_GTHREAD_4,
    GUNICORN_SYNC,
    GUNICORN_SYNC_4,
    HYPERCORN_TRIO,
    MEINHELD,
    NGINX_GUNICORN_4,
    SYNC,
    SYNC_4,
    SYNC_4_KERNEL,
    THREADS,
    THREADS_2,
    TORNADO,
    TORNADO_OWN,
    TORNADO_OWN_UVLOOP,
    TORNADO_UVLOOP,
    TRIO,
    TWISTED_ASGI,
    TWISTED_OWN,
    TWISTED_SITE,
    TWISTED_WEB,
    TWISTED_WSGI,
    UVICORN_2,
    UVICORN_4,
    UVICORN_SOCKETS,
    UVICORN_UVLOOP,
    UVLOOP,
    UVLOOP_2,
    UVLOOP_4,
    UVLOOP_SOCKETS,
    Server,
)

CLIENTS = 64
WAITING_CLIENTS = 1000
IDEAL_RATE = WAITING_CLIENTS / WAIT_SECONDS
IDLE_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Load:
    """What wrk does; with a rate, what open_loop.py does; with the head "websocket", what echoes.py does."""

    name: str
    title: str
    app: str
    clients: int
    head: str  # "wrk", "browser" or "changing" (see browser.lua), or "websocket"
    in_slices: bool = True  # in turns of a second, against a core whose speed varies
    rate: float = 0.0  # requests a second, whether or not those before have been answered


@dataclass(frozen=True)
class Group:
    """Servers that are compared: the load goes round them in turns."""

    name: str
    servers: tuple[Server, ...]
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Target:
    """What the figure of `ours`, divided by what stands beside it, must be: at least or at most `bound`."""

    subject: str  # the name of a load, or of a table of memory
    figure: str  # "rate", "p99_ms", "resident", "ratio" (of evenness)
    ours: Server
    beside: Server | float
    bound: float
    is_minimum: bool

    def is_met_by(self, ratio: float) -> bool:
        return ratio >= self.bound if self.is_minimum else ratio <= self.bound


WRK_HEAD = Load("hello", "Hello world, wrk's own head", "hello", CLIENTS, "wrk")
BROWSER_HEAD = Load("hello-browser", "Hello world, a browser's twelve headers", "hello", CLIENTS, "browser")
CHANGING_HEAD = Load(
    "hello-changing",
    "Hello world, the twelve and an X-Request-Id that differs in every request",
    "hello",
    CLIENTS,
    "changing",
)
# A slice would lose its last wait, a twentieth of a second's requests.
WAITS = Load("waits", "50 ms waits", "sleep", WAITING_CLIENTS, "wrk", in_slices=False)
HELLOS = (WRK_HEAD, BROWSER_HEAD, CHANGING_HEAD)
PROCESSES = Load("processes", "Hello world, several processes, wrk's own head", "hello", CLIENTS, "wrk")
MIXED_WORKERS = 4
MIXED_LONG = 1 / 20
MIXED_CAPACITY = MIXED_WORKERS / (MIXED_LONG * LONG_SECONDS + (1 - MIXED_LONG) * SHORT_SECONDS)  # requests a second
MIXED = Load(
    "mixed",
    "One request in 20 takes 100 ms, the others 2 ms; 60 % of what 4 workers can answer",
    "mixed",
    0,
    "wrk",
    in_slices=False,
    rate=round(0.6 * MIXED_CAPACITY),
)
ECHOES = Load("websocket", "WebSocket: 64 bytes and their echo", "echo", CLIENTS, "websocket")
LOADS = (*HELLOS, WAITS, ECHOES, PROCESSES, MIXED)

GROUPS = (
    Group("sync", (SYNC, GUNICORN_SYNC, GRANIAN_WSGI), HELLOS),
    Group("threads", (THREADS, GUNICORN_GTHREAD, GRANIAN_WSGI_8), HELLOS),
    Group("gevent", (GEVENT, GUNICORN_GEVENT, MEINHELD), HELLOS),
    Group("eventlet", (EVENTLET, EVENTLET_WSGI), HELLOS),
    Group("asgi", (UVLOOP, ASYNCIO, UVICORN_UVLOOP, GRANIAN_ASGI, GRANIAN_RUST_TASKS), HELLOS),
    Group("trio", (TRIO, HYPERCORN_TRIO), (WRK_HEAD,)),
    Group("twisted, wsgi", (TWISTED_WSGI, TWISTED_WEB), (WRK_HEAD,)),
    Group("twisted, asgi", (TWISTED_ASGI, DAPHNE_ASGI), (WRK_HEAD,)),
    Group("native, aiohttp", (AIOHTTP, AIOHTTP_OWN, AIOHTTP_UVLOOP, AIOHTTP_OWN_UVLOOP), (WRK_HEAD,)),
    Group("native, tornado", (TORNADO, TORNADO_OWN, TORNADO_UVLOOP, TORNADO_OWN_UVLOOP), (WRK_HEAD,)),
    Group("native, twisted", (TWISTED_SITE, TWISTED_OWN), (WRK_HEAD,)),
    Group("waits", (GEVENT, GUNICORN_GEVENT, UVLOOP, UVICORN_UVLOOP, GRANIAN_ASGI), (WAITS,)),
    Group("websocket", (UVLOOP_SOCKETS, UVICORN_SOCKETS, GRANIAN_SOCKETS), (ECHOES,)),
    Group("processes, sync", (SYNC_4, SYNC_4_KERNEL, GUNICORN_SYNC_4, NGINX_GUNICORN_4), (PROCESSES,)),
    Group("processes, threads", (THREADS_2, GUNICORN_GTHREAD_2), (PROCESSES,)),
    Group("processes, hybrid", (UVLOOP_2, UVICORN_2, GRANIAN_ASGI_2), (PROCESSES,)),
    Group("processes, mixed", (SYNC_4, SYNC_4_KERNEL, GUNICORN_SYNC_4, NGINX_GUNICORN_4), (MIXED,)),
)

EVENNESS = "processes, evenness"
EVENNESS_SERVERS = (UVLOOP_4, SYNC_4, UVICORN_4, GRANIAN_ASGI_4, GUNICORN_GTHREAD_4)
EVEN = 1.3  # the most requests of a worker, divided by the fewest

MEMORY = "memory"
IDLE = "idle"
MEMORY_SERVERS = (
    SYNC,
    THREADS,
    GEVENT,
    EVENTLET,
    ASYNCIO,
    UVLOOP,
    UVICORN_UVLOOP,
    GUNICORN_SYNC,
    GRANIAN_WSGI,
    GRANIAN_ASGI,
)
IDLE_SERVERS = (SYNC, GEVENT, UVLOOP, UVICORN_UVLOOP, GUNICORN_GEVENT, GRANIAN_WSGI, GRANIAN_ASGI)


def targets() -> Iterable[Target]:
    """All targets, in the order of the tables."""
    for load in HELLOS:
        for ours, beside, bound in (
            (SYNC, GUNICORN_SYNC, 12.0),
            (SYNC, GRANIAN_WSGI, 1.0),
            (THREADS, GUNICORN_GTHREAD, 10.0),
            (THREADS, GRANIAN_WSGI_8, 0.9),
            (GEVENT, GUNICORN_GEVENT, 9.0),
            (GEVENT, MEINHELD, 1.5),
            (EVENTLET, EVENTLET_WSGI, 5.0),
            (UVLOOP, UVICORN_UVLOOP, 1.35),
            (UVLOOP, GRANIAN_ASGI, 1.35),
            (ASYNCIO, UVICORN_UVLOOP, 1.1),
        ):
            yield Target(load.name, "rate", ours, beside, bound, is_minimum=True)
        yield Target(load.name, "p99_ms", THREADS, GRANIAN_WSGI_8, 2.0, is_minimum=False)
    for ours, beside, bound in (
        (TRIO, HYPERCORN_TRIO, 6.0),
        (TWISTED_WSGI, TWISTED_WEB, 3.0),
        (TWISTED_ASGI, DAPHNE_ASGI, 3.0),
        (AIOHTTP, AIOHTTP_OWN, 0.95),
        (AIOHTTP_UVLOOP, AIOHTTP_OWN, 0.95),
        (TORNADO, TORNADO_OWN, 0.95),
        (TORNADO_UVLOOP, TORNADO_OWN, 0.95),
        (TWISTED_SITE, TWISTED_OWN, 0.95),
    ):
        yield Target(WRK_HEAD.name, "rate", ours, beside, bound, is_minimum=True)
    for ours in (GEVENT, UVLOOP):
        yield Target(WAITS.name, "rate", ours, IDEAL_RATE, 0.85, is_minimum=True)
        yield Target(WAITS.name, "p99_ms", ours, 90.0, 1.0, is_minimum=False)
    yield Target(ECHOES.name, "rate", UVLOOP_SOCKETS, UVICORN_SOCKETS, 1.2, is_minimum=True)
    yield Target(ECHOES.name, "rate", UVLOOP_SOCKETS, GRANIAN_SOCKETS, 1.0, is_minimum=True)
    for ours, beside, bound in (
        (SYNC_4, GUNICORN_SYNC_4, 4.0),
        (SYNC_4, NGINX_GUNICORN_4, 5.0),
        (THREADS_2, GUNICORN_GTHREAD_2, 4.0),
        (UVLOOP_2, UVICORN_2, 1.3),
        (UVLOOP_2, GRANIAN_ASGI_2, 1.3),
    ):
        yield Target(PROCESSES.name, "rate", ours, beside, bound, is_minimum=True)
    yield Target(MIXED.name, "p99_ms", SYNC_4, GUNICORN_SYNC_4, 0.5, is_minimum=False)
    yield Target(EVENNESS, "ratio", UVLOOP_4, EVEN, 1.0, is_minimum=False)
    for ours in (SYNC, THREADS, GEVENT, ASYNCIO, UVLOOP):
        yield Target(MEMORY, "resident", ours, UVICORN_UVLOOP, 1.0, is_minimum=False)


def select_servers(servers: Iterable[Server], table: str, wanted: list[str]) -> tuple[Server, ...]:
    """All of a table's servers when its name is wanted (or nothing in particular), else those named.

    A name is wanted when one of its words begins with what was asked for: "sync" is not "asyncio".
    """

    def asked_for(name: str) -> bool:
        return any(re.search(rf"\b{re.escape(text)}", name, re.IGNORECASE) for text in wanted)

    return tuple(server for server in servers if not wanted or asked_for(table) or asked_for(server.name))
