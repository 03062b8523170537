"""A twisted.web site, and its own server: `python -m native_twisted HOST:PORT`, on asyncio's reactor as ours."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from twisted.internet import asyncioreactor

    asyncioreactor.install()

from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from apps import BODY


class Hello(Resource):
    isLeaf = True  # noqa: N815

    def render_GET(self, request: object) -> bytes:  # noqa: N802
        return BODY


class Quiet(Site):
    def log(self, request: object) -> None:
        """No access log, as everywhere here."""


app = Quiet(Hello(), timeout=None)


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    endpoints.TCP4ServerEndpoint(reactor, int(port), backlog=2048, interface=host).listen(app)
    reactor.run()


if __name__ == "__main__":
    main()
