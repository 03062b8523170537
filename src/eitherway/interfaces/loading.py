"""Find the user's application by its name.

Called by the worker, once, before its engine runs. Every failure is an AppLoadError of one line; where the
application's own code raised, its traceback goes along, without our frames.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from eitherway.config import Config, did_you_mean
from eitherway.errors import AppLoadError, ConfigError
from eitherway.interfaces.detection import brings_server, detect_interface, type_name

__all__ = ["Target", "detect_interface", "load_application", "parse_target", "prepare_path"]

USUAL_NAMES = ("app", "application", "create_app()")  # tried, in this order, where only a module is named
USUAL_MODULES = ("wsgi", "asgi", "app", "main")  # of a package, where an application often is
FORMS = "module:name, module:factory() or module"
LONGEST_REASON = 300  # characters of an exception's message that go into our line


# ---- where to import from ----


def prepare_path(config: Config) -> None:
    """Change to `chdir`; make it importable, and before it the directories of `pythonpath`.

    A relative `pythonpath` counts from `chdir`. Raises ConfigError for a directory that does not exist.
    """
    try:
        if config.chdir:
            os.chdir(config.chdir)
        here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    except OSError as error:
        raise ConfigError(f"chdir: cannot work in {config.chdir or '.'!r}: {error.strerror}") from None
    front = [os.path.join(here, each) for each in config.pythonpath]  # noqa: PTH118 - as above
    for path in front:
        if not os.path.exists(path):  # noqa: PTH110 - as above
            raise ConfigError(f"pythonpath: there is no directory {path!r}")
    front.append(here)
    sys.path[:] = front + [path for path in sys.path if path not in front]


# ---- the name of an application ----


@dataclass(frozen=True, slots=True)
class Target:
    """What a name like "shop:web.create_app('test', debug=True)" says. A bare module has no attributes."""

    module: str
    attributes: tuple[str, ...] = ()
    is_call: bool = False
    arguments: tuple[object, ...] = ()
    keywords: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        path = f"{self.module}:{'.'.join(self.attributes)}" if self.attributes else self.module
        return f"{path}()" if self.is_call else path


def parse_target(text: str) -> Target:
    """Read "module", "module:name", "module:name.deeper" or "module:factory('literal', key=1)".

    Raises AppLoadError for any other form.
    """
    module, colon, expression = (part.strip() for part in text.partition(":"))
    if not text.strip():
        raise AppLoadError(f"no application is named; name it as {FORMS}")
    if module.endswith(".py") or "/" in module:
        raise AppLoadError(_not_a_file(module, colon + expression))
    if not all(module.split(".")) or (colon and not expression):
        raise _bad_form(text)
    if not colon:
        return Target(module)
    try:
        return _parse_expression(module, expression)
    except (SyntaxError, ValueError, TypeError):
        raise _bad_form(text) from None


def _bad_form(text: str) -> AppLoadError:
    literals = "; a factory's arguments must be literals, such as 'text', 8 or True" if "(" in text else ""
    return AppLoadError(f"{text!r} does not name an application; name it as {FORMS}{literals}")


def _not_a_file(path: str, rest: str) -> str:
    directory, slash, file = path.rpartition("/")
    directory, package = _package_around(directory)
    named = f"{package}{file.removesuffix('.py')}{rest}"
    option = f" with --chdir {directory or slash}" if directory.strip("./") or path.startswith("/") else ""
    return f"{path!r} is a file, and an application is named by its module: {named}{option}"


def _package_around(directory: str) -> tuple[str, str]:
    """Where to import from what lies in a directory, and the packages that hold it there: "shop.web.", or nothing."""
    package = ""
    while directory.strip("./") and os.path.isfile(os.path.join(directory, "__init__.py")):  # noqa: PTH113, PTH118
        directory, last = os.path.split(directory)
        package = f"{last}.{package}"
    return directory, package


def _parse_expression(module: str, expression: str) -> Target:
    """Read what stands behind the colon; SyntaxError, ValueError or TypeError for a form that is not ours."""
    node = ast.parse(expression, mode="eval").body
    if not isinstance(node, ast.Call):
        return Target(module, _attributes(node))
    arguments = tuple(ast.literal_eval(each) for each in node.args)
    keywords = {_keyword_name(each): ast.literal_eval(each.value) for each in node.keywords}
    return Target(module, _attributes(node.func), True, arguments, keywords)


def _attributes(node: ast.expr) -> tuple[str, ...]:
    """Return the names in "first.second.third"."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (*_attributes(node.value), node.attr)
    raise ValueError(node)


def _keyword_name(keyword: ast.keyword) -> str:
    if keyword.arg is None:  # "**mapping", which is no literal
        raise ValueError(keyword)
    return keyword.arg


# ---- from the name to the application ----


def load_application(target: str) -> Any:
    """Import the application of this name and return it. Raises AppLoadError."""
    wanted = parse_target(target)
    module = _import(wanted.module)
    return _application(module, wanted) if wanted.attributes else _usual_application(module, wanted.module)


def _application(module: ModuleType, wanted: Target) -> Any:
    found: Any = module
    path = wanted.module
    for name in wanted.attributes:
        found = _attribute(found, name, path)
        path += f".{name}"
    if wanted.is_call:
        found = _call(found, wanted)
    if not callable(found) and not brings_server(found) and not inspect.iscoroutine(found):
        raise AppLoadError(f"{wanted} is {type_name(found)}, which cannot be called: it is no application")
    return found


def _usual_application(module: ModuleType, name: str) -> Any:
    """Return what the first of the usual names stands for."""
    for usual in USUAL_NAMES:
        wanted = parse_target(f"{name}:{usual}")
        # Not callable is not meant: a package may well have a submodule called app.
        if callable(getattr(module, wanted.attributes[0], None)):
            return _application(module, wanted)
    inner = [each for each in USUAL_MODULES if each in _modules_in(getattr(module, "__path__", ()))]
    example = f"{name}.{inner[0]}" if inner else f"{name}:NAME"
    raise AppLoadError(f"{name} has none of {', '.join(USUAL_NAMES)}; name the application, as in {example}")


def _attribute(holder: object, name: str, path: str) -> Any:
    try:
        return getattr(holder, name)
    except AttributeError:
        if name in _modules_in(getattr(holder, "__path__", ())):
            said = f"no attribute {name!r} in {path}, but a module; name what is in it, as in {path}.{name}:NAME"
            raise AppLoadError(said) from None
        public = [each for each in dir(holder) if not each.startswith("_")]
        raise AppLoadError(f"no attribute {name!r} in {path}{did_you_mean(name, public)}") from None
    except (Exception, SystemExit) as error:
        raise _raised(f"{path}.{name}", error) from None


def _call(factory: Any, wanted: Target) -> Any:
    if not callable(factory):
        raise AppLoadError(f"{wanted}: it is {type_name(factory)}, which cannot be called")
    try:
        made = factory(*wanted.arguments, **wanted.keywords)
    except (Exception, SystemExit) as error:
        raise _raised(str(wanted), error) from None
    if inspect.iscoroutine(made) and "aiohttp" not in sys.modules:  # whose server awaits it
        made.close()
        raise AppLoadError(f"{wanted} is async; a factory must be a plain function")
    return made


# ---- importing ----


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    # A module that calls sys.exit() has failed to be imported; it must not end us without a word.
    except (Exception, SystemExit) as error:
        # Without a frame of the application it is the module itself that is missing, not one that it needs.
        if isinstance(error, ModuleNotFoundError) and not _application_frames(error):
            raise AppLoadError(_missing(error.name or name, name)) from None
        raise _raised(f"importing {name}", error, _of_a_package(name, error)) from None


def _missing(name: str, wanted: str) -> str:
    """Say that the module which the user wanted, or a package on the way to it, is nowhere."""
    parent, _, last = name.rpartition(".")
    package = sys.modules.get(parent)
    if package is None:
        places = _own_places()
    elif hasattr(package, "__path__"):
        places = list(package.__path__)
    else:
        colon = f"; did you mean {f'{parent}:{last}'!r}?" if hasattr(package, last) else ""
        return f"no module named {name!r}: {parent} is a module, not a package{colon}"
    hint = _elsewhere(wanted) or did_you_mean(last, _modules_in(places))
    return f"no module named {name!r} in {', '.join(places)}{hint}"


def _elsewhere(name: str, option: str = "--chdir") -> str:
    """Say where the module is when that is right above or below the working directory."""
    here, path = Path.cwd(), name.replace(".", "/")
    below = sorted(each for each in here.iterdir() if each.is_dir() and not each.name.startswith("."))
    for place in (here.parent, *below):
        at = place / path
        # Below, a directory of that name may hold anything, such as templates.
        if at == here or at.with_name(f"{at.name}.py").is_file() or (at / "__init__.py").is_file():
            return f"; it is found with {option} {place}"
    return ""


def _of_a_package(name: str, error: BaseException) -> str:
    """Say how a module is named that was imported from inside its package, where relative imports cannot work."""
    frames = _application_frames(error)
    if not isinstance(error, ImportError) or "no known parent package" not in str(error) or frames is None:
        return ""
    inside = os.path.dirname(frames.tb_frame.f_code.co_filename)  # noqa: PTH120 - text, as for sys.path
    directory, package = _package_around(inside)
    if not package:  # one without an __init__.py
        directory, last = os.path.split(inside)
        package = f"{last}."
    return f"; it is part of a package: name it {package}{name} with --chdir {directory}"


def _own_places() -> list[str]:
    """Return the directories that `prepare_path` put in front."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    return sys.path[: sys.path.index(here) + 1] if here in sys.path else [here]


def _modules_in(places: Iterable[str]) -> list[str]:
    import pkgutil  # only for this hint

    return [module.name for module in pkgutil.iter_modules(places)]


# ---- what the application's own code raised ----


def _raised(what: str, error: BaseException, hint: str = "") -> AppLoadError:
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    line = f"{what} raised {type(error).__name__}{': ' if reason else ''}{reason}{hint}"
    if isinstance(error, ModuleNotFoundError):
        line += _elsewhere(error.name or "", "--pythonpath") or f"; is it installed for {sys.executable}?"
    frames = _application_frames(error)
    # Of a mistake in the call itself, such as one argument too many, the line says all there is.
    has_more = frames is not None or isinstance(error, SyntaxError)
    return AppLoadError(line, "".join(traceback.format_exception(None, error, frames)) if has_more else "")


def _application_frames(error: BaseException) -> TracebackType | None:
    """Return the traceback from the application's first frame on; None where it has none."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_machinery(filename: str) -> bool:
    own = (_is_machinery.__code__.co_filename, importlib.import_module.__code__.co_filename)
    return filename in own or filename.startswith("<frozen importlib")
