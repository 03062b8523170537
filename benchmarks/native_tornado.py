"""A Tornado application, and its own server: `python -m native_tornado HOST:PORT [uvloop]`."""

from __future__ import annotations

import asyncio
import sys

from tornado.web import Application, RequestHandler

from apps import BODY


class Hello(RequestHandler):
    def get(self) -> None:
        self.write(BODY)


app = Application([("/", Hello)], log_function=lambda handler: None)


async def serve() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    app.listen(int(port), host, backlog=2048)
    await asyncio.Event().wait()


def main() -> None:
    if sys.argv[2:]:
        import uvloop

        uvloop.run(serve())
    else:
        asyncio.run(serve())


if __name__ == "__main__":
    main()
