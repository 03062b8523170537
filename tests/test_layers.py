"""The house (docs/architecture.md): which room may import which, read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import eitherway

SOURCE = Path(eitherway.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

# What each room may import beside itself; a module's name stands for that module of the room only.
LEAVES = {"metrics", "config", "errors"}
ARROWS: dict[str, set[str]] = {
    "__init__": {"config", "serve"},
    "__main__": {"cli"},
    "cli": {"serve", "supervisor.control", "lab"},
    "serve": {"supervisor", "worker", "net.listener", "net.inherited"},
    "supervisor": {
        "worker",
        "balancer",
        "net.listener",
        "net.inherited",
        "interfaces.base",
        "interfaces.loading",
        "http.exchange",
        "http.fields",
    },
    "balancer": {"net", "http"},
    "worker": {"engines", "interfaces", "net"},
    "engines": {"net", "http", "interfaces.base", "interfaces.bridge", "interfaces.loops"},
    "interfaces": {"http"},
    "net": {"http"},
    "http": set(),
    "lab": set(),
    "metrics": set(),
    "config": set(),
    "errors": set(),
}

# The libraries of engines, and the only files that may import them.
LIBRARIES = {
    "gevent": {"engines/gevent.py", "lab/switching.py"},
    "eventlet": {"engines/eventlet.py", "lab/switching.py"},
    "greenlet": {"engines/gevent.py", "engines/eventlet.py"},
    "trio": {"engines/trio.py", "lab/switching.py"},
    "curio": {"engines/curio.py", "lab/switching.py"},
    "twisted": {"engines/twisted.py", "interfaces/twisted.py"},
    "uvloop": {"lab/switching.py"},
    "websockets": {"http/websocket.py"},
    "aiohttp": {"interfaces/aiohttp.py"},
    "tornado": {"interfaces/tornado.py"},
}

LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 60


def name_of(path: Path) -> str:
    """The module's name inside the package: "http.exchange"; the package itself is "__init__"."""
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


MODULES = {name_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.partition(".")[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node beneath, but not what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield child
            yield from statements(child)


@cache
def imports(path: Path) -> frozenset[str]:
    """The full names of what a file imports, wherever in the file; `from a import b` counts as a.b."""
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@cache
def own_imports(module: str) -> frozenset[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imports(MODULES[module]):
        package, _, rest = name.partition(".")
        if package == "eitherway":
            while rest and rest not in MODULES:
                rest = rest.rpartition(".")[0]
            found.add(rest or "__init__")
    return frozenset(found)


def allowed(importer: str, imported: str) -> bool:
    room, other = room_of(importer), room_of(imported)
    if other in (room, "__init__"):  # the package itself holds the version
        return True
    if other in LEAVES and room not in LEAVES:
        return True
    if room in LEAVES and other == "errors" and room != "errors":
        return True
    return other in ARROWS[room] or imported in ARROWS[room]


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    assert room_of(module) in ARROWS, f"a new room: give it its arrows here and in docs/architecture.md: {module}"
    wrong = [imported for imported in own_imports(module) if not allowed(module, imported)]
    assert not wrong, f"{module} may not import {wrong}"


def test_the_reading_finds_the_imports() -> None:
    """Without this a mistake in the reading would make all the others pass."""
    assert {"http.exchange", "config", "errors", "net.service"} <= own_imports("net.listener")
    assert "net.connection" not in own_imports("net.service")  # under TYPE_CHECKING only
    assert not allowed("http.exchange", "net.poller")
    assert not allowed("engines.sync", "interfaces.wsgi")
    assert not allowed("metrics.access_log", "http.exchange")
    assert not allowed("serve", "net.poller")
    assert "gevent" in {name.partition(".")[0] for name in imports(MODULES["engines.gevent"])}


def test_there_are_no_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in own_imports(module) - {"__init__"}:
                visit(imported, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())
    assert done == set(MODULES)


def test_rooms_have_no_cycles() -> None:
    """Also not from room to room by way of different modules."""
    rooms = {
        room: {room_of(each) for module in MODULES if room_of(module) == room for each in own_imports(module)}
        for room in ARROWS
    }

    def reachable(room: str, seen: frozenset[str]) -> frozenset[str]:
        for other in rooms[room] - seen - {room, "__init__"}:
            seen = reachable(other, seen | {other})
        return seen

    for room in ARROWS:
        assert room not in reachable(room, frozenset()), room


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_engines_libraries_stay_in_their_engine(path: Path) -> None:
    found = {name.partition(".")[0] for name in imports(path)} & set(LIBRARIES)
    for library in found:
        assert str(path.relative_to(SOURCE)) in LIBRARIES[library], library


def test_no_engine_is_imported_before_it_is_chosen() -> None:
    for module in MODULES:
        if room_of(module) != "engines" or module == "engines":
            assert not {each for each in own_imports(module) if each.startswith("engines.")} - {
                "engines.base",
                "engines.patching",
            }, module


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(SOURCE)) for path in FILES])
def test_functions_are_short(path: Path) -> None:
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 < LONGEST_FUNCTION, node.name
