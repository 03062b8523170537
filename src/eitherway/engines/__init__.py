"""The engines: a file a concurrency model, imported when it is chosen (which are there: config/models.py)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from eitherway.config import ELSEWHERE, MODELS, Config
from eitherway.errors import EngineError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from eitherway.engines.base import Engine
    from eitherway.net.poller import Poller


_OF_COLOUR = {"sync": "threads", "reactor": "twisted"}  # what "auto" takes


def choose(config: Config, colour: str) -> str:
    """The engine's name, with "auto" resolved: threads for sync, uvloop or asyncio for async applications."""
    if config.engine != "auto":
        return config.engine
    if colour in _OF_COLOUR:
        return _OF_COLOUR[colour]
    return "uvloop" if not config.loop and _installed("uvloop") else "asyncio"


def prepare(name: str, config: Config) -> None:
    """What must happen before the application is imported: the library is there, and has put itself in place.

    Raises EngineError.
    """
    model = MODELS[name]
    library = model.library
    if model.newest_python is not None and sys.version_info[:2] > model.newest_python:
        newest = ".".join(map(str, model.newest_python))
        raise EngineError(
            f"the engine {name} runs on Python {newest} and older, since {library} does, and this is Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; use another engine"
        )
    if library and not _installed(library):
        raise EngineError(
            f'the engine {name} needs {library}, which is not installed; run: pip install "eitherway[{library}]"'
        )
    if model.patches:
        import_module(f"eitherway.engines.{name}").patch()
    if model.prepares:
        import_module(f"eitherway.engines.{name}").prepare(config, _new_loop(name, config))


def create(name: str, colour: str, config: Config, poller: Poller) -> Engine:
    """The engine that runs interfaces of `colour`. Raises EngineError where there is none."""
    entry = MODELS[name].runs.get(colour) or ELSEWHERE[colour]
    module, _, attribute = entry.partition(":")
    if not attribute:
        raise EngineError(f"the engine {name} cannot run this application: {entry}")
    engine_class = getattr(import_module(f"eitherway.engines.{module}"), attribute)
    new_loop = _new_loop(name, config)
    engine: Engine = engine_class(config, poller, new_loop) if new_loop else engine_class(config, poller)
    return engine


def _new_loop(name: str, config: Config) -> Callable[[], AbstractEventLoop] | None:
    """What makes the event loop of an engine that is to run on a certain one. Raises EngineError."""
    model = MODELS[name]
    if not config.loop:
        return partial(_make_loop, model.loop) if model.loop else None
    if not model.any_loop:
        able = " and ".join(each for each, model in MODELS.items() if model.any_loop)
        raise EngineError(f"--loop is for the engines {able}, not for {name}; leave it out")
    return partial(_make_loop, config.loop)


def _make_loop(name: str) -> AbstractEventLoop:
    """Call the factory "module:name". Raises EngineError."""
    from asyncio import AbstractEventLoop  # here, since most engines do without asyncio's memory

    module, _, attribute = name.partition(":")
    try:
        factory: Any = import_module(module)
        for part in attribute.split("."):
            factory = getattr(factory, part)
        loop = factory()
    except ImportError as error:
        raise EngineError(f"the loop {name} cannot be imported: {error}; is it installed?") from None
    except AttributeError as error:
        raise EngineError(f"there is no loop {name}: {error}") from None
    except Exception as error:
        raise EngineError(f"the loop {name} cannot be made: {type(error).__name__}: {error}") from None
    if not isinstance(loop, AbstractEventLoop):
        raise EngineError(f"{name} makes {type(loop).__name__}, which is no asyncio event loop")
    return loop


def _installed(library: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eventlet's are about itself, not about anything that its user did here
        try:
            import_module(library)
        except ImportError:
            return False
    return True
