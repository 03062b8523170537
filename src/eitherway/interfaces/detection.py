"""Tell an application's interface from how it may be called. Imports no framework and calls nothing."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from eitherway.errors import AppLoadError

InterfaceName = Literal["wsgi", "asgi", "aiohttp", "tornado", "twisted"]

# Classes of applications that bring a server of their own. Looked up by name: no framework need be imported.
_BRINGERS: dict[str, InterfaceName] = {
    "aiohttp.web_app.Application": "aiohttp",
    "tornado.web.Application": "tornado",
    "twisted.web.server.Site": "twisted",
    "twisted.web.resource.Resource": "twisted",
}

# What the specifications and the frameworks call the arguments; this decides where their number does not.
WSGI_NAMES = {"environ", "env", "wsgi_environ", "start_response"}
ASGI_NAMES = {"scope", "receive", "send"}


def detect_interface(application: Any) -> InterfaceName:
    """Tell the application's interface. Raises AppLoadError where it cannot be told, or is neither."""
    if found := brings_server(application):
        return found
    if inspect.iscoroutine(application):  # from an async factory, as aiohttp's documentation has them
        return "aiohttp"
    takes = Arguments.of(application)
    if is_async(application):
        if takes is not None and not takes.accepts(3):
            raise _unknown(application, "is async, but does not take ASGI's three arguments scope, receive, send")
        return "asgi"
    if takes is None:
        raise _unknown(application, "does not show which arguments it takes")
    as_wsgi, as_asgi = takes.accepts(2), takes.accepts(3)
    if as_wsgi and as_asgi:
        return _by_names(application, takes)
    if as_wsgi:
        return "wsgi"
    if as_asgi:
        return "asgi"
    raise _neither(application, takes)


def brings_server(application: Any) -> InterfaceName | None:
    """Tell the framework of an application that brings a server of its own; None for all others."""
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(application).__mro__)
    return next((found for name in names if (found := _BRINGERS.get(name))), None)


@dataclass(frozen=True, slots=True)
class Arguments:
    """The positional arguments of a callable: their names, how many it needs, how many it can take."""

    names: tuple[str, ...]
    required: int
    most: float

    @classmethod
    def of(cls, function: Callable[..., object]) -> Arguments | None:
        """Read them from the signature; None where there is none to read, or keywords are needed too."""
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        if any(each.kind is each.KEYWORD_ONLY and each.default is each.empty for each in parameters):
            return None
        positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        is_open = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        return cls(
            tuple(each.name for each in positional),
            sum(each.default is each.empty for each in positional),
            float("inf") if is_open else len(positional),
        )

    def accepts(self, number: int) -> bool:
        """Tell whether a call with this many positional arguments is possible."""
        return self.required <= number <= self.most


def _by_names(application: Any, takes: Arguments) -> InterfaceName:
    """Decide for one that may be called with two arguments and with three."""
    names = set(takes.names[:3])
    if bool(names & WSGI_NAMES) != bool(names & ASGI_NAMES):
        return "wsgi" if names & WSGI_NAMES else "asgi"
    if takes.required == 2:
        return "wsgi"
    raise _unknown(application, "may be called as WSGI and as ASGI")


def is_async(application: Any) -> bool:
    """Tell whether a call is sure to give an awaitable: a coroutine function, or an instance with one."""
    while isinstance(application, functools.partial):
        application = application.func
    if _is_coroutine_function(application):
        return True
    # To call a class makes an instance, whatever a call of that would be.
    if inspect.isclass(application) or not callable(application):
        return False
    return _is_coroutine_function(type(application).__call__)


def _is_coroutine_function(function: Any) -> bool:
    if inspect.iscoroutinefunction(function):
        return True
    # Python 3.11 has no inspect.markcoroutinefunction: there asgiref marks with asyncio's own mark. Where
    # nobody has imported asyncio nothing is marked, and we need not import it to see that.
    mark = getattr(sys.modules.get("asyncio.coroutines"), "_is_coroutine", None)
    return mark is not None and getattr(function, "_is_coroutine", None) is mark


# ---- refusals ----


def _unknown(application: Any, why: str) -> AppLoadError:
    return AppLoadError(f"{_name(application)} {why}; say which it is with --interface wsgi or --interface asgi")


def _neither(application: Any, takes: Arguments) -> AppLoadError:
    """Make the error for a number of arguments that no interface has, with what the number suggests."""
    name = _name(application)
    if takes.required == 0 and (inspect.isroutine(application) or inspect.isclass(application)):
        advice = f"if it makes the application, call it, as in module:{name}()"
        return AppLoadError(f"{name} takes no arguments; {advice}")
    if takes.required == 1:
        cure = "wrap it in asgiref.compatibility.guarantee_single_callable"
        return AppLoadError(f"{name} takes one argument, as in ASGI 2, which cannot be run; {cure}")
    return _unknown(application, "takes neither the two arguments of WSGI nor the three of ASGI")


def _name(application: Any) -> str:
    return getattr(application, "__qualname__", None) or f"the application, {type_name(application)},"


def type_name(thing: object) -> str:
    """Return what a thing is, as it stands in a sentence: "None", "the module shop", "a dict"."""
    if thing is None:
        return "None"
    if isinstance(thing, ModuleType):
        return f"the module {thing.__name__}"
    kind = type(thing)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
