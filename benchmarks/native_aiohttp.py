"""An aiohttp application, and its own server: `python -m native_aiohttp HOST:PORT [uvloop]`."""

from __future__ import annotations

import sys

from aiohttp import web

from apps import BODY


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=BODY, content_type="text/plain")


app = web.Application()
app.router.add_get("/", hello)


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    loop = None
    if sys.argv[2:]:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(app, host=host, port=int(port), backlog=2048, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
