"""The engines, an entry each: all that is known of one before anything of it is imported.

A new engine is an entry here and a file in `engines/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One engine.

    `runs`: colour of an interface -> who runs it, "module:Class" in the room `engines`; or, where the pair cannot run,
    a sentence that says why and what to take (where nothing is said: `ELSEWHERE`). `native`: the interfaces that it
    runs without a detour.
    """

    describe: str  # in half a sentence: what a request is there
    runs: Mapping[str, str]
    native: tuple[str, ...]
    library: str = ""  # what it needs beyond the base dependencies; the extra has the library's name
    patches: bool = False  # the library's monkey-patching makes the application's blocking calls switch greenlets
    newest_python: tuple[int, int] | None = None  # that the library works on
    prepares: bool = False  # its file has a `prepare(config)`, which runs before the application is imported
    loop: str = ""  # "module:factory" of the asyncio event loop that it runs on, where it is a certain one
    any_loop: bool = False  # it runs on any asyncio event loop: the setting `loop` chooses


# Where a colour runs that most engines cannot run.
ELSEWHERE = {
    "asyncio": "its own server needs asyncio's loop; use --engine uvloop or asyncio",
    "reactor": "its own server needs Twisted's reactor; use --engine twisted",
}

_ASYNCIO = {
    "sync": "asyncio:LoopAndThreadsEngine",
    "async": "asyncio:AsyncioEngine",
    "asyncio": "asyncio:AsyncioEngine",
}

REACTORS = ("asyncio", "epoll", "poll", "select")  # Twisted's own that run on Linux

MODELS: Mapping[str, Model] = {
    "sync": Model(
        describe="one request at a time",
        runs={"sync": "sync:SyncEngine", "async": "asyncio:OneAtATimeEngine"},
        native=("wsgi",),
    ),
    "threads": Model(
        describe="a thread of a pool",
        runs={"sync": "threads:ThreadsEngine", "async": "asyncio:LoopThreadsEngine"},
        native=("wsgi",),
    ),
    "gevent": Model(
        describe="a greenlet on gevent's hub",
        runs={
            "sync": "gevent:GeventEngine",
            "async": "gevent switches greenlets and cannot run the coroutines of an ASGI application; "
            "use --engine uvloop or asyncio",
        },
        native=("wsgi",),
        library="gevent",
        patches=True,
    ),
    "eventlet": Model(
        describe="a greenlet on eventlet's hub",
        runs={
            "sync": "eventlet:EventletEngine",
            "async": "eventlet switches greenlets and cannot run the coroutines of an ASGI application; "
            "use --engine uvloop or asyncio",
        },
        native=("wsgi",),
        library="eventlet",
        patches=True,
    ),
    "asyncio": Model(
        describe="a task on asyncio's loop", runs=_ASYNCIO, native=("asgi", "aiohttp", "tornado"), any_loop=True
    ),
    "uvloop": Model(
        describe="a task on uvloop",
        runs=_ASYNCIO,
        native=("asgi", "aiohttp", "tornado"),
        library="uvloop",
        loop="uvloop:new_event_loop",
    ),
    "trio": Model(
        describe="a task on Trio's loop",
        runs={"sync": "trio:TrioAndThreadsEngine", "async": "trio:TrioEngine"},
        native=("asgi",),
        library="trio",
    ),
    "curio": Model(
        describe="a task on Curio's kernel",
        runs={"sync": "curio:CurioAndThreadsEngine", "async": "curio:CurioEngine"},
        native=("asgi",),
        library="curio",
        newest_python=(3, 11),
    ),
    "twisted": Model(
        describe="a task on Twisted's reactor",
        runs={
            "sync": "twisted:ReactorAndThreadsEngine",
            "async": "twisted:ReactorEngine",
            "asyncio": "twisted:ReactorEngine",
            "reactor": "twisted:BareReactorEngine",
        },
        native=("asgi", "twisted"),
        library="twisted",
        prepares=True,
        any_loop=True,
    ),
}


def natives(interface: str) -> tuple[str, ...]:
    """The engines that run an interface without a detour."""
    return tuple(name for name, model in MODELS.items() if interface in model.native)


def runs_in_threads(engine: str, colour: str) -> bool:
    """Whether as many requests of that colour run at once as the setting `threads` says."""
    return engine == "threads" or (colour == "sync" and engine != "sync" and not MODELS[engine].patches)
