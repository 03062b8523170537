"""sync: one request at a time, in the order they came."""

from __future__ import annotations

from uuid import uuid4

import pytest

from serving import Start, request_bytes, wait_until


@pytest.mark.parametrize("app", ["engines_wsgi:app", "engines_asgi:app"])
def test_one_at_a_time_and_in_order(app: str, shared_server: Start) -> None:
    server = shared_server(app, "sync")
    key = uuid4().hex
    target = f"/order/{key}?number=%d" if "wsgi" in app else f"/order?key={key}&number=%d"
    connections = [server.connect() for _ in range(20)]
    for number, client in enumerate(connections):
        client.send(request_bytes(target % number))
    assert {client.response().status for client in connections} == {200}
    wait_until(lambda: len(server.notes(key)) == 40)
    notes = server.notes(key)
    numbers = [note.split()[1] for note in notes]
    assert [note.split()[0] for note in notes] == ["begins", "ends"] * 20
    assert numbers[::2] == numbers[1::2]
    assert sorted(numbers[::2], key=int) == [str(number) for number in range(20)]
    for client in connections:
        client.socket.close()


def test_a_slow_reader_of_a_stream_is_waited_for_but_sockets_are_served(shared_server: Start) -> None:
    """While the one request waits for its client, bad requests of others are answered."""
    server = shared_server("wsgi_routes:app", "sync")
    key = uuid4().hex
    with server.connect() as reader, server.connect() as bad, server.connect() as next_one:
        reader.send(request_bytes(f"/streamed?blocks=400&key={key}"))
        wait_until(lambda: server.notes(key))
        next_one.send(request_bytes("/hello"))
        bad.send(b"nonsense\r\n\r\n")
        assert bad.response().status == 400
        assert next_one.is_quiet()
        for _ in range(400):
            reader.read_until(b"10000\r\n")
            reader.read_exactly(65538)
        assert next_one.response().body == b"hello"
