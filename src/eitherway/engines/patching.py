"""Monkey-patching looked at from outside: what it cannot reach, named for the user.

Called by the worker around the import of the application, where the engine patches. It imports no driver: what the
application has not loaded cannot block it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_PATCHED = ("time", "socket", "ssl", "select", "selectors", "threading", "_thread", "queue", "subprocess")

# Loaded before an engine can patch, since they are ours or the engine's own; none waits for anything in a request.
_OURS = {"eitherway", "click", "httptools", "websockets", "gevent", "eventlet", "greenlet", "zope", "dns"}

_COPIES = ("__original_module_", "__patched_module_")  # eventlet's own, of modules as they were

_SHOWN = 5  # modules that are named; a framework loaded too early has hundreds

Originals = dict[tuple[str, str], Any]


@dataclass(frozen=True, slots=True)
class _Driver:
    """A library that waits in C. `blocks` looks at its module, once that is loaded. {engine} is filled in."""

    name: str
    cure: str
    blocks: Callable[[ModuleType], bool] = lambda module: True


def _lacks_callback(extensions: Any) -> bool:
    return extensions.get_wait_callback() is None


def _waits_in_c(waiting: Any) -> bool:
    return waiting.wait is getattr(waiting, "wait_c", None)


# The module that is there when the driver's compiled code is (PyMySQL may call itself MySQLdb) -> the driver.
_DRIVERS = {
    "psycopg2.extensions": _Driver(
        "psycopg2",
        "before the first connection add: from psycogreen.{engine} import patch_psycopg; patch_psycopg()",
        _lacks_callback,
    ),
    "psycopg.waiting": _Driver(
        "psycopg, imported before {engine} could patch,",
        "have the server import the application by its name",
        _waits_in_c,
    ),
    "MySQLdb._mysql": _Driver("mysqlclient", "call pymysql.install_as_MySQLdb() before MySQLdb is imported (PyMySQL)"),
    "_mysql_connector": _Driver("mysql.connector's compiled part", "connect with use_pure=True"),
    "cx_Oracle": _Driver("cx_Oracle", "use python-oracledb in its thin mode"),
    "pyodbc": _Driver("pyodbc", "use --engine threads"),
    "pylibmc": _Driver("pylibmc", "use pymemcache"),
}


def originals() -> Originals:
    """What may be patched, as it is now: module and name -> function or class."""
    loaded = [(name, sys.modules[name]) for name in _PATCHED if name in sys.modules]
    return {(name, key): value for name, module in loaded for key, value in vars(module).items() if callable(value)}


def unpatched(engine: str, before: Originals) -> Iterator[str]:
    """Sentences for the log about what will block every request of the worker although `engine` has patched.

    before: `originals()` of the time before the patching.
    """
    for module, driver in _DRIVERS.items():
        loaded = sys.modules.get(module)
        if loaded is not None and driver.blocks(loaded):
            sentence = f"{driver.name} waits in C, and no other request runs meanwhile; {driver.cure}"
            yield sentence.format(engine=engine)
    holders = _holders(before)
    if holders:
        shown = ", ".join(f"{module} ({', '.join(names)})" for module, names in list(holders.items())[:_SHOWN])
        more = f" and {len(holders) - _SHOWN} more modules" if len(holders) > _SHOWN else ""
        yield (
            f"imported before {engine} could patch, and still holding what blocks every request: {shown}{more}; "
            f'have it imported by the server: eitherway.run("module:name", engine="{engine}")'
        )


def _holders(before: Originals) -> dict[str, list[str]]:
    """Modules outside the standard library with a global that was replaced, or is an instance of what was."""
    replaced = {id(value) for (module, name), value in before.items() if _now(module, name) is not value}
    if not replaced:
        return {}
    found = {}
    for name, module in list(sys.modules.items()):
        if _is_the_applications(name) and isinstance(module, ModuleType):
            values = list(vars(module).items())
            held = sorted(key for key, value in values if id(value) in replaced or id(type(value)) in replaced)
            if held:
                found[name] = held
    return found


def _is_the_applications(module: str) -> bool:
    package = module.partition(".")[0]
    return package not in _OURS and package not in sys.stdlib_module_names and not module.startswith(_COPIES)


def _now(module: str, name: str) -> Any:
    return getattr(sys.modules[module], name, None)
