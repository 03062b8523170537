"""Every setting of the server, declared once.

From a declaration come the command-line option, the environment variable, the TOML key, the Python keyword,
the help text and the check. A new setting is a new field here and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from eitherway.config.declare import Check, Setting, between, readable, setting, size_between, time_between
from eitherway.config.models import MODELS, REACTORS
from eitherway.config.values import GIB, KIB, MIB, parse_bind, parse_network

HOUR = 3600.0  # seconds

# The sections of the command line's help, in the order of the fields below.
APPLICATION = "Application"
ENGINE = "Engine"
PROCESSES = "Processes"
LISTENING = "Listening"
LOGGING = "Logging"
LIMITS = "Limits"
TIMEOUTS = "Timeouts"
WEBSOCKET = "WebSocket"
PROXY = "Behind a proxy"

ADDRESS = Check(
    "host:port, [IPv6]:port, :port, unix:/path or fd://3, with a port from 0 to 65535", readable(parse_bind), True
)
PEER = Check(
    "an address, a network such as 10.0.0.0/8, 'unix', or '*'",
    lambda text: text in ("unix", "*") or readable(parse_network)(text),
    True,
)
MOUNT = Check(
    "empty, or a path that begins with / and does not end with it",
    lambda text: not text or (text.startswith("/") and not text.endswith("/")),
    True,
)
FACTORY = Check(
    'empty, or "module:factory", such as rloop:new_event_loop', lambda text: not text or _is_factory(text), True
)
REACTOR = Check(
    f"empty, {', '.join(REACTORS)}, or the name of a module with a function install",
    lambda text: not text or text in REACTORS or "." in text,
    True,
)
MANY = between(1, 10_000_000)
PATIENCE = time_between(0.001, 24 * HOUR)


def _is_factory(text: str) -> bool:
    module, _, attribute = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *attribute.split(".")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in force. Made by `load`, which checks them; never changed after."""

    app: str = setting("", APPLICATION, 'The application: "module:name", or a call, "module:factory()".', metavar="APP")
    interface: str = setting(
        "auto",
        APPLICATION,
        "What the application speaks; auto asks the application.",
        choices=("auto", "wsgi", "asgi", "aiohttp", "tornado", "twisted"),
    )
    chdir: str = setting("", APPLICATION, "Change to this directory before the application is imported.", metavar="DIR")
    pythonpath: tuple[str, ...] = setting(
        (),
        APPLICATION,
        "Import from this directory too. Repeatable.",
        kind="paths",
        metavar="DIR",
    )

    engine: str = setting(
        "auto",
        ENGINE,
        "How requests wait; auto is threads for WSGI, uvloop or else asyncio for ASGI.",
        choices=("auto", *MODELS),
    )
    loop: str = setting(
        "",
        ENGINE,
        'The asyncio event loop of the engines asyncio and twisted: "module:factory"; empty: asyncio\'s own.',
        metavar="FACTORY",
        check=FACTORY,
    )
    reactor: str = setting(
        "",
        ENGINE,
        "The reactor of the engine twisted; empty: the one that is installed already, or asyncio.",
        metavar="NAME",
        check=REACTOR,
    )
    threads: int = setting(
        8,
        ENGINE,
        "Worker threads, on engine threads, and for WSGI on the engines that are a loop.",
        check=between(1, 1024),
    )

    workers: int = setting(
        1,
        PROCESSES,
        "Worker processes; auto is one for each CPU.",
        kind="workers",
        short="-w",
        check=Check("from 1 to 256", lambda value: 0 <= value <= 256),
    )
    balance: str = setting(
        "auto",
        PROCESSES,
        "Who gives requests to workers: our balancer, or the kernel. auto: request where --engine is sync or threads.",
        choices=("auto", "request", "kernel"),
    )
    worker_concurrency: int = setting(
        100,
        PROCESSES,
        "Requests that the balancer gives a worker of an async engine or gevent at once.",
        check=between(1, 100_000),
    )
    queue: int = setting(
        1024, PROCESSES, "Most requests that wait in the balancer (else 503).", check=between(0, 1_000_000)
    )
    queue_timeout: float = setting(
        30.0, PROCESSES, "Longest time a request waits in the balancer (else 503).", unit="s", check=PATIENCE
    )
    response_buffer: int = setting(
        MIB,
        PROCESSES,
        "How much of an answer the balancer takes ahead of its client, so that the worker is free again.",
        unit="bytes",
        check=size_between(0, GIB),
    )
    timeout: float = setting(
        0.0,
        PROCESSES,
        "Longest time one request may run (else 504); 0: any.",
        unit="s",
        check=time_between(0, 24 * HOUR),
    )
    max_requests: int = setting(
        0, PROCESSES, "Replace a worker after so many requests; 0: never.", check=between(0, 1_000_000_000)
    )
    max_requests_jitter: int = setting(
        0, PROCESSES, "Add up to so many to that at random for each worker.", check=between(0, 1_000_000_000)
    )
    max_memory: int = setting(
        0,
        PROCESSES,
        "Replace a worker that holds more memory; 0: never.",
        unit="bytes",
        check=size_between(0, 1024 * GIB),
    )
    preload: bool = setting(False, PROCESSES, "Import the application once, and fork workers from there.")
    reload: bool = setting(False, PROCESSES, "Reload when a file of the application changes; needs watchfiles.")
    control_socket: str = setting(
        "",
        PROCESSES,
        "The socket of status, reload and stop; empty: one in the user's runtime directory.",
        metavar="FILE",
    )
    pid_file: str = setting("", PROCESSES, "Write the process's number into this file.", metavar="FILE")

    bind: tuple[str, ...] = setting(
        ("127.0.0.1:8000",),
        LISTENING,
        "Listen on host:port, [::1]:port, :port, unix:/path or fd://3; port 0 takes a free one. Repeatable.",
        metavar="ADDRESS",
        short="-b",
        check=ADDRESS,
        required=True,
    )
    backlog: int = setting(
        2048, LISTENING, "Connections the kernel may hold for us to accept.", check=between(1, 65535)
    )
    server_header: bool = setting(True, LISTENING, "Name the server in a Server header.")

    access_log: str = setting(
        "", LOGGING, "Write a line for every request; '-' is stdout, empty is off.", metavar="FILE"
    )
    access_format: str = setting(
        "combined", LOGGING, "The form of the access log's lines.", choices=("combined", "json")
    )
    log_level: str = setting(
        "info",
        LOGGING,
        "The least severe message that is written to stderr.",
        choices=("debug", "info", "warning", "error"),
    )

    limit_request_line: int = setting(
        8190, LIMITS, "Longest request line (else 414).", unit="bytes", check=size_between(64, MIB)
    )
    limit_request_fields: int = setting(
        100, LIMITS, "Most header fields in a request (else 431).", check=between(1, 10_000)
    )
    limit_request_head: int = setting(
        64 * KIB,
        LIMITS,
        "Largest head of a request (else 431).",
        unit="bytes",
        check=size_between(256, 16 * MIB),
    )
    limit_body: int = setting(
        100 * MIB,
        LIMITS,
        "Largest body of a request (else 413); 0: any.",
        unit="bytes",
        check=size_between(0, 1024 * GIB),
    )
    buffer_body: int = setting(
        64 * KIB,
        LIMITS,
        "A body up to this size is collected before a thread or greenlet is taken.",
        unit="bytes",
        check=size_between(0, GIB),
    )
    limit_connections: int = setting(20_000, LIMITS, "Most connections open at once.", check=MANY)
    limit_concurrency: int = setting(4096, LIMITS, "Most requests running or queued at once (else 503).", check=MANY)
    limit_keep_alive_requests: int = setting(10_000, LIMITS, "Most requests on one connection.", check=MANY)

    head_timeout: float = setting(
        10.0, TIMEOUTS, "Time to receive a request's head (else 408).", unit="s", check=PATIENCE
    )
    body_timeout: float = setting(
        30.0, TIMEOUTS, "Time to wait for more of a request's body.", unit="s", check=PATIENCE
    )
    keep_alive_timeout: float = setting(75.0, TIMEOUTS, "Time an idle connection stays open.", unit="s", check=PATIENCE)
    write_timeout: float = setting(
        60.0, TIMEOUTS, "Time a client may take no byte of its answer.", unit="s", check=PATIENCE
    )
    graceful_timeout: float = setting(
        30.0,
        TIMEOUTS,
        "Time to finish requests when the server stops.",
        unit="s",
        check=time_between(0, 24 * HOUR),
    )

    ws_max_size: int = setting(
        16 * MIB,
        WEBSOCKET,
        "Largest message of a client (else it is closed with 1009); 0: any.",
        unit="bytes",
        check=size_between(0, GIB),
    )
    ws_max_queue: int = setting(
        32,
        WEBSOCKET,
        "Messages of a client that are read ahead of the application.",
        check=between(1, 10_000),
    )
    ws_ping_interval: float = setting(
        20.0, WEBSOCKET, "Ping every client so often; 0: never.", unit="s", check=time_between(0, 24 * HOUR)
    )
    ws_ping_timeout: float = setting(
        20.0,
        WEBSOCKET,
        "Time a client may take to answer a ping; 0: any.",
        unit="s",
        check=time_between(0, 24 * HOUR),
    )
    ws_per_message_deflate: bool = setting(True, WEBSOCKET, "Compress messages where the client can.")

    root_path: str = setting("", PROXY, "The path that the application is mounted at.", metavar="PATH", check=MOUNT)
    forwarded_allow_ips: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1", "unix"),
        PROXY,
        "Believe Forwarded and X-Forwarded-* from these: addresses, networks, unix, or '*' for any peer.",
        metavar="PEERS",
        check=PEER,
    )


SETTINGS: Mapping[str, Setting] = MappingProxyType({each.name: each.metadata["setting"] for each in fields(Config)})
