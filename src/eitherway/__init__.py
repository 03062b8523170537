"""Sync or async, either way, in one server. From Python: `eitherway.run(app, engine="gevent")`.

Imports nothing until it is called: an application may import this package at no cost.
"""

from __future__ import annotations

__version__ = "0.1.0"  # the one place where it stands; the packaging reads it from here

__all__ = ["__version__", "run"]


def run(app: object, **settings: object) -> None:
    """Serve an application until the process is told to stop.

    app: the application itself, or its name as on the command line ("shop:app"). The name is needed where the
    engine has to patch the standard library before the application is imported.
    settings: as on the command line, with underscores: run(app, engine="threads", threads=32).
    Raises a StartError, whose text is one line, when the server cannot start.
    """
    from eitherway.config import load
    from eitherway.serve import serve

    if isinstance(app, str):
        serve(load(keywords={"app": app, **settings}))
    else:
        serve(load(keywords=settings), application=app)
