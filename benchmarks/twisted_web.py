"""twisted.web as a server of WSGI: `python -m twisted_web HOST:PORT MODULE:NAME THREADS`, without an access log."""

from __future__ import annotations

import sys
from importlib import import_module

from twisted.internet import endpoints, reactor
from twisted.python.threadpool import ThreadPool
from twisted.web.server import Site
from twisted.web.wsgi import WSGIResource


class Quiet(Site):
    def log(self, request: object) -> None:
        """No access log, as everywhere here."""


def main() -> None:
    address, name, threads = sys.argv[1:]
    host, _, port = address.rpartition(":")
    module, _, attribute = name.partition(":")
    pool = ThreadPool(int(threads), int(threads))
    reactor.callWhenRunning(pool.start)
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    site = Quiet(WSGIResource(reactor, pool, getattr(import_module(module), attribute)), timeout=None)
    endpoints.TCP4ServerEndpoint(reactor, int(port), backlog=2048, interface=host).listen(site)
    reactor.run()


if __name__ == "__main__":
    main()
