"""Clients that ask again and again, each on a connection of its own, and count what goes wrong."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter

from serving import PATIENCE, wait_until

PAUSE = 0.005  # seconds between two requests of a client


class Load:
    """`with Load(port) as load: ...`: it goes on until the block ends."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.keep_alive = True
        self.failures: list[str] = []
        self._port = port
        self._answers: list[list[bytes]] = [[] for _ in range(clients)]  # of each client
        self._since = [0] * clients  # which of them count
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in self._answers]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def bodies(self) -> Counter[bytes]:
        """The answers, and how often each came."""
        return Counter(body for each, since in zip(self._answers, self._since, strict=True) for body in each[since:])

    def wait_for(self, more: int) -> None:
        """Wait until every client has had so many answers more."""
        wanted = [len(each) + more for each in self._answers]
        wait_until(
            lambda: (
                all(len(each) >= many for each, many in zip(self._answers, wanted, strict=True))
                or len(self.failures) > 100
            )
        )

    def forget(self) -> None:
        """From now on only answers to what is asked now count."""
        self.wait_for(1)
        self._since = [len(each) for each in self._answers]

    def _run(self, answers: list[bytes]) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._ended.is_set():
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
                connection.request("GET", "/", headers={} if self.keep_alive else {"Connection": "close"})
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    answers.append(body)
                else:
                    self.failures.append(f"{response.status}: {body[:100]!r}")
                if response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                if connection is not None:
                    connection.close()
                connection = None
            time.sleep(PAUSE)  # the pace of a client, not a wait for anything
        if connection is not None:
            connection.close()
