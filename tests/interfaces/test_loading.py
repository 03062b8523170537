"""From a name to an application, from that to its interface, and the line for each way it goes wrong."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import eitherway
from eitherway.config import Config
from eitherway.errors import AppLoadError, ConfigError
from eitherway.interfaces.detection import detect_interface
from eitherway.interfaces.loading import Target, load_application, parse_target, prepare_path

SHOP = """\
config = {"name": "shop"}
nothing = None
number = 1

def app(environ, start_response):
    return [b"shop"]

class tools:
    wsgi = staticmethod(app)

def create_app(name="x", *, debug=False):
    def made(environ, start_response):
        return [name.encode()]
    made.name, made.debug = name, debug
    return made

def broken():
    return {}["key"]

def nothing_made():
    return None

async def later():
    return app
"""

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test a directory of its own to import from, and forget afterwards what it imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    prepare_path(Config())
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("shop", "store", "lib"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        importlib.invalidate_caches()
        return path

    return write_file


@pytest.fixture
def shop(write: Write) -> None:
    write("shop.py", SHOP)


def refusal(target: str) -> AppLoadError:
    with pytest.raises(AppLoadError) as caught:
        load_application(target)
    assert "\n" not in str(caught.value)
    return caught.value


def line(target: str) -> str:
    """Return the line for a target that fails without the application raising anything."""
    error = refusal(target)
    assert error.traceback == ""
    return str(error)


# ---- names ----


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("shop", Target("shop")),
        (" shop.web ", Target("shop.web")),
        ("shop:app", Target("shop", ("app",))),
        ("shop.web:site.app", Target("shop.web", ("site", "app"))),
        ("my-shop:app", Target("my-shop", ("app",))),
        ("shop:create_app()", Target("shop", ("create_app",), True)),
        ("shop:a.create()", Target("shop", ("a", "create"), True)),
        (
            "shop:create('x', -1, key=[1, None])",
            Target("shop", ("create",), True, ("x", -1), {"key": [1, None]}),
        ),
        ("shop:create('a:b')", Target("shop", ("create",), True, ("a:b",))),
    ],
)
def test_names(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        ":app",
        "shop:",
        "shop:app:x",
        ".shop:app",
        "shop.:app",
        "shop..web:app",
        "shop:3",
        "shop:app[0]",
        "shop:a b",
        "shop:create(",
        "shop:create(x)",
        "shop:create(**{})",
        "shop:create(*[1])",
        "shop:f()()",
        "shop:f().app",
        "shop:create({[]: 1})",
        "shop:app,other",
        "shop:lambda: 1",
    ],
)
def test_what_is_no_name(text: str) -> None:
    assert line(text).startswith(f"{text!r} does not name an application; name it as module:name, ")


def test_no_name_at_all() -> None:
    assert line("") == "no application is named; name it as module:name, module:factory() or module"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("shop.py:app", "shop:app"),
        ("./shop.py", "shop"),
        ("web/shop.py:app", "shop:app with --chdir web"),
        ("/srv/shop.py:app", "shop:app with --chdir /srv"),
        ("/shop:app", "shop:app with --chdir /"),
        ("web/pages/shop.py:app", "pages.shop:app with --chdir web"),
        ("web/pages/deep/shop.py:app", "pages.deep.shop:app with --chdir web"),
        ("./main/shop.py", "main.shop"),
    ],
)
def test_a_file_is_no_module(text: str, instead: str, write: Write) -> None:
    for package in ("web/pages", "web/pages/deep", "main"):
        write(f"{package}/__init__.py", "")
    assert line(text).endswith(f"is a file, and an application is named by its module: {instead}")


@given(st.text(alphabet="ab:.()'=, *-\0\n[{", max_size=14))
def test_any_name_is_read_or_refused(text: str) -> None:
    try:
        parse_target(text)
    except AppLoadError as error:
        assert "\n" not in str(error)


# ---- finding it ----


@pytest.mark.usefixtures("shop")
def test_an_attribute_and_an_attribute_of_it() -> None:
    assert load_application("shop:app")({}, None) == [b"shop"]
    assert load_application("shop:tools.wsgi") is load_application("shop:app")
    assert isinstance(load_application("shop:tools"), type)


@pytest.mark.usefixtures("shop")
def test_factories() -> None:
    assert load_application("shop:create_app()").name == "x"
    made = load_application("shop:create_app('y', debug=True)")
    assert (made.name, made.debug) == ("y", True)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("def app(e, s): ...\ndef application(e, s): ...", "app"),
        ("app = None\ndef application(e, s): ...\ndef create_app(): ...", "application"),
        ("def create_app():\n    def made(e, s): ...\n    return made", "create_app.<locals>.made"),
    ],
)
def test_a_module_alone(write: Write, content: str, name: str) -> None:
    write("shop.py", content)
    assert load_application("shop").__qualname__ == name


def test_a_module_alone_without_a_usual_name(write: Write) -> None:
    write("shop.py", "site = 3")
    assert line("shop") == "shop has none of app, application, create_app(); name the application, as in shop:NAME"


def test_packages(write: Write) -> None:
    write("shop/__init__.py", "")
    write("shop/web.py", SHOP)
    assert load_application("shop.web:app")({}, None) == [b"shop"]


@pytest.mark.usefixtures("shop")
def test_what_is_no_application() -> None:
    assert line("shop:ap") == "no attribute 'ap' in shop; did you mean 'app'?"
    assert line("shop:zzzzz") == "no attribute 'zzzzz' in shop"
    assert line("shop:tools.wsg") == "no attribute 'wsg' in shop.tools; did you mean 'wsgi'?"
    assert line("shop:config") == "shop:config is a dict, which cannot be called: it is no application"
    assert line("shop:number") == "shop:number is an int, which cannot be called: it is no application"
    assert line("shop:nothing") == "shop:nothing is None, which cannot be called: it is no application"
    assert line("shop:config()") == "shop:config(): it is a dict, which cannot be called"
    assert line("shop:nothing_made()") == "shop:nothing_made() is None, which cannot be called: it is no application"
    assert line("shop:later()") == "shop:later() is async; a factory must be a plain function"


def test_a_module_is_no_application(write: Write) -> None:
    write("shop/__init__.py", "from shop import web")
    write("shop/web.py", "")
    assert line("shop:web") == "shop:web is the module shop.web, which cannot be called: it is no application"


# ---- the module that is not there ----


@pytest.mark.usefixtures("shop")
def test_no_such_module(tmp_path: Path) -> None:
    assert line("shpo:app") == f"no module named 'shpo' in {tmp_path}; did you mean 'shop'?"
    assert line("zzzzz:app") == f"no module named 'zzzzz' in {tmp_path}"


def test_no_such_module_in_all_places(tmp_path: Path, write: Write) -> None:
    write("lib/store.py", SHOP)
    prepare_path(Config(pythonpath=("lib",)))
    assert line("stor:app") == f"no module named 'stor' in {tmp_path / 'lib'}, {tmp_path}; did you mean 'store'?"
    assert load_application("store:app")({}, None) == [b"shop"]


def test_no_such_module_in_a_package(tmp_path: Path, write: Write) -> None:
    write("shop/__init__.py", "")
    write("shop/web.py", SHOP)
    assert line("shop.wbe:app") == f"no module named 'shop.wbe' in {tmp_path / 'shop'}; did you mean 'web'?"


def test_a_module_above_or_below_the_working_directory(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("project/portal/wsgi.py", "")
    write("lib/store/__init__.py", "")
    hint = "it is found with --chdir"
    assert line("store:app") == f"no module named 'store' in {tmp_path}; {hint} {tmp_path / 'lib'}"
    assert line("portal.wsgi").endswith(f"; {hint} {tmp_path / 'project'}")
    monkeypatch.chdir(tmp_path / "project" / "portal")
    assert line("portal.wsgi").endswith(f"; {hint} {tmp_path / 'project'}")


@pytest.mark.parametrize("marked", [True, False])
def test_a_module_run_from_inside_its_package(
    marked: bool, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("web/views.py", "from . import models")
    if marked:
        write("web/__init__.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "web"))
    reason = "attempted relative import with no known parent package"
    hint = f"it is part of a package: name it web.views with --chdir {tmp_path}"
    assert str(refusal("views:app")) == f"importing views raised ImportError: {reason}; {hint}"


def test_a_module_that_the_application_needs_above_the_working_directory(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("project/kiosk/wsgi.py", "import kiosk.settings")
    monkeypatch.chdir(tmp_path / "project" / "kiosk")
    monkeypatch.syspath_prepend(str(tmp_path / "project" / "kiosk"))
    hint = f"it is found with --pythonpath {tmp_path / 'project'}"
    assert str(refusal("wsgi")) == f"importing wsgi raised ModuleNotFoundError: No module named 'kiosk'; {hint}"


def test_a_package_whose_application_is_in_a_module(write: Write) -> None:
    write("depot/__init__.py", "")
    write("depot/wsgi.py", "")
    assert line("depot").endswith("; name the application, as in depot.wsgi")


def test_a_module_in_place_of_an_attribute(write: Write) -> None:
    write("web/__init__.py", "")
    write("web/views.py", "")
    said = "no attribute 'views' in web, but a module; name what is in it, as in web.views:NAME"
    assert line("web:views") == line("web:views.app") == said


@pytest.mark.usefixtures("shop")
def test_a_dot_in_place_of_the_colon() -> None:
    assert line("shop.app") == "no module named 'shop.app': shop is a module, not a package; did you mean 'shop:app'?"
    assert line("shop.zzz:app") == "no module named 'shop.zzz': shop is a module, not a package"


# ---- what the application raises ----


def test_a_module_that_the_application_needs_is_another_matter(write: Write) -> None:
    path = write("shop.py", "import flaskk\n")
    error = refusal("shop:app")
    assert str(error).startswith("importing shop raised ModuleNotFoundError: No module named 'flaskk'; is it installed")
    assert error.traceback.splitlines()[:2] == [
        "Traceback (most recent call last):",
        f'  File "{path}", line 1, in <module>',
    ]


def test_even_where_it_has_the_name_of_the_module(write: Write) -> None:
    write("shop.py", "raise ModuleNotFoundError('no shop', name='shop')\n")
    error = refusal("shop:app")
    assert str(error).startswith("importing shop raised ModuleNotFoundError: no shop")
    assert "shop.py" in error.traceback


def test_an_import_that_raises(write: Write) -> None:
    write("shop.py", "def f():\n    raise ValueError('two\\nlines')\nf()\n")
    error = refusal("shop:app")
    assert str(error) == "importing shop raised ValueError: two lines"
    assert error.traceback.endswith("ValueError: two\nlines\n")
    assert "importlib" not in error.traceback
    assert "eitherway" not in error.traceback


def test_an_import_that_exits(write: Write) -> None:
    write("shop.py", "import sys\nsys.exit('usage: shop')\n")
    assert str(refusal("shop:app")) == "importing shop raised SystemExit: usage: shop"


def test_an_import_that_is_interrupted(write: Write) -> None:
    write("shop.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_application("shop:app")


def test_a_slip_in_the_syntax(write: Write) -> None:
    path = write("shop.py", "def app(:\n")
    error = refusal("shop:app")
    assert str(error).startswith("importing shop raised SyntaxError: ")
    assert f'File "{path}", line 1' in error.traceback


@pytest.mark.usefixtures("shop")
def test_a_factory_that_raises() -> None:
    error = refusal("shop:broken()")
    assert str(error) == "shop:broken() raised KeyError: 'key'"
    assert "in broken" in error.traceback
    assert "loading.py" not in error.traceback


@pytest.mark.usefixtures("shop")
def test_a_factory_called_with_the_wrong_arguments() -> None:
    assert line("shop:create_app(1, 2)").startswith("shop:create_app() raised TypeError: create_app() takes from 0")


def test_an_attribute_that_raises(write: Write) -> None:
    write("shop.py", "def __getattr__(name):\n    raise RuntimeError(name)\n")
    error = refusal("shop:app")
    assert str(error) == "shop.app raised RuntimeError: app"
    assert "in __getattr__" in error.traceback


# ---- the path ----


def test_chdir_comes_first_and_pythonpath_before_it(tmp_path: Path, write: Write) -> None:
    write("site/lib/store.py", "")
    prepare_path(Config(chdir="site", pythonpath=("lib", str(tmp_path))))
    assert Path.cwd() == tmp_path / "site"
    assert sys.path[:3] == [str(tmp_path / "site" / "lib"), str(tmp_path), str(tmp_path / "site")]


def test_preparing_twice_is_preparing_once() -> None:
    before = sys.path[:]
    prepare_path(Config())
    assert sys.path == before


def test_directories_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^chdir: cannot work in 'gone': No such file or directory$"):
        prepare_path(Config(chdir="gone"))
    with pytest.raises(ConfigError, match=f"^pythonpath: there is no directory '{tmp_path}/gone'$"):
        prepare_path(Config(pythonpath=("gone",)))


@pytest.mark.skipif(sys.platform != "linux", reason="others do not let the working directory be removed")
def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match=r"^chdir: cannot work in '\.'"):
        prepare_path(Config())


# ---- telling the interface ----


def wsgi(environ: Any, start_response: Any) -> Any: ...
def wsgi_with_more(environ: Any, start_response: Any, exc: Any = None) -> Any: ...
def wsgi_by_number(a: Any, b: Any, c: Any = None) -> Any: ...
def wsgi_by_name(environ: Any, *rest: Any) -> Any: ...
def asgi_in_effect(scope: Any, receive: Any, send: Any) -> Any: ...
def asgi_by_name(scope: Any, *rest: Any) -> Any: ...
async def asgi(scope: Any, receive: Any, send: Any) -> None: ...
async def asgi_open(*arguments: Any) -> None: ...
async def asgi_keyword(*arguments: Any, needed: int) -> None: ...
async def endpoint(request: Any) -> None: ...
def anything(*arguments: Any) -> Any: ...
def one(scope: Any) -> Any: ...
def zero() -> Any: ...
def needs_keyword(environ: Any, start_response: Any, *, site: Any) -> Any: ...


@functools.wraps(wsgi)
def wrapped(*arguments: Any) -> Any: ...


class WSGIClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...


class ASGIClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ASGI2Class:
    def __init__(self, scope: Any) -> None: ...
    async def __call__(self, receive: Any, send: Any) -> None: ...


class WSGIApp:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...
    def method(self, environ: Any, start_response: Any) -> Any: ...
    async def async_method(self, scope: Any, receive: Any, send: Any) -> None: ...


class ASGIApp:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class ASGIInEffect:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any: ...


class OtherApp:
    def __call__(self) -> Any: ...


@pytest.mark.parametrize(
    ("application", "interface"),
    [
        (wsgi, "wsgi"),
        (wsgi_with_more, "wsgi"),
        (wsgi_by_number, "wsgi"),
        (wsgi_by_name, "wsgi"),
        (wrapped, "wsgi"),
        (WSGIClass, "wsgi"),
        (WSGIApp(), "wsgi"),
        (WSGIApp().method, "wsgi"),
        (functools.partial(needs_keyword, site=1), "wsgi"),
        (functools.partial(asgi_in_effect, None), "wsgi"),
        (asgi, "asgi"),
        (asgi_open, "asgi"),
        (asgi_keyword, "asgi"),
        (asgi_in_effect, "asgi"),
        (asgi_by_name, "asgi"),
        (ASGIClass, "asgi"),
        (ASGIApp(), "asgi"),
        (ASGIInEffect(), "asgi"),
        (WSGIApp().async_method, "asgi"),
        (functools.partial(asgi), "asgi"),
        (functools.partial(ASGIApp()), "asgi"),
    ],
)
def test_interfaces(application: Any, interface: str) -> None:
    assert detect_interface(application) == interface


FORCE = "; say which it is with --interface wsgi or --interface asgi"


@pytest.mark.parametrize(
    ("application", "reason"),
    [
        (anything, f"anything may be called as WSGI and as ASGI{FORCE}"),
        (
            endpoint,
            f"endpoint is async, but does not take ASGI's three arguments scope, receive, send{FORCE}",
        ),
        (needs_keyword, f"needs_keyword does not show which arguments it takes{FORCE}"),
        (max, f"max does not show which arguments it takes{FORCE}"),
        (one, "one takes one argument, as in ASGI 2, which cannot be run; wrap it in asgiref.compatibility."),
        (
            ASGI2Class,
            "ASGI2Class takes one argument, as in ASGI 2, which cannot be run; wrap it in asgiref.compat",
        ),
        (zero, "zero takes no arguments; if it makes the application, call it, as in module:zero()"),
        (WSGIApp, "WSGIApp takes no arguments; if it makes the application, call it, as in module:WSGIApp()"),
        (
            OtherApp(),
            "the application, a test_loading.OtherApp, takes neither the two arguments of WSGI nor the",
        ),
        (
            SimpleNamespace(),
            "the application, a types.SimpleNamespace, does not show which arguments it takes",
        ),
    ],
)
def test_interfaces_that_cannot_be_told(application: Any, reason: str) -> None:
    with pytest.raises(AppLoadError) as caught:
        detect_interface(application)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_function_marked_as_a_coroutine() -> None:
    asgiref_sync = pytest.importorskip("asgiref.sync")

    def marked(*arguments: Any) -> Any: ...

    asgiref_sync.markcoroutinefunction(marked)
    assert detect_interface(marked) == "asgi"


def test_applications_of_asgiref() -> None:
    asgiref_wsgi = pytest.importorskip("asgiref.wsgi")
    compatibility = pytest.importorskip("asgiref.compatibility")
    assert detect_interface(asgiref_wsgi.WsgiToAsgi(wsgi)) == "asgi"
    assert detect_interface(compatibility.guarantee_single_callable(ASGI2Class)) == "asgi"


def make_django(kind: str) -> Any:
    settings = pytest.importorskip("django.conf").settings
    if not settings.configured:
        settings.configure()
    return importlib.import_module(f"django.core.handlers.{kind}").__dict__[f"{kind.upper()}Handler"]()


@pytest.mark.parametrize(
    ("make", "interface"),
    [
        (lambda: pytest.importorskip("flask").Flask("shop"), "wsgi"),
        (lambda: pytest.importorskip("bottle").Bottle(), "wsgi"),
        (lambda: pytest.importorskip("falcon").App(), "wsgi"),
        (lambda: make_django("wsgi"), "wsgi"),
        (lambda: make_django("asgi"), "asgi"),
        (lambda: pytest.importorskip("fastapi").FastAPI(), "asgi"),
        (lambda: pytest.importorskip("starlette.applications").Starlette(), "asgi"),
        (lambda: pytest.importorskip("falcon.asgi").App(), "asgi"),
        (lambda: pytest.importorskip("sanic").Sanic("shop"), "asgi"),
    ],
    ids=[
        "flask",
        "bottle",
        "falcon",
        "django",
        "django-asgi",
        "fastapi",
        "starlette",
        "falcon-asgi",
        "sanic",
    ],
)
def test_frameworks(make: Callable[[], Any], interface: str) -> None:
    assert detect_interface(make()) == interface


def test_telling_an_interface_imports_no_event_loop() -> None:
    code = (
        "import sys; from eitherway.interfaces.detection import detect_interface as d;"
        "assert d(lambda environ, start_response: []) == 'wsgi'; print('asyncio' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(eitherway.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert run.stdout.strip() == "False"
