"""A chat on Flask, over WebSockets: who joins a room sees the last lines, and then what everybody writes.

    eitherway serve flask_chat:app --chdir examples --engine gevent

Try: open http://localhost:8000/ in two windows, or
     python -m websockets "ws://localhost:8000/rooms/tea?name=Ada"
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue

REMEMBERED = 20  # lines of a room that newcomers see
LONGEST = 2000  # characters of a line

app = Flask(__name__)


@dataclass
class Room:
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    members: set[Any] = field(default_factory=set)  # their WebSockets
    lock: Lock = field(default_factory=Lock)  # of both: a line is seen once, as history or as news

    def join(self, socket: Any) -> list[str]:
        """Be told of every line from now on; those that were said before."""
        with self.lock:
            self.members.add(socket)
            return list(self.lines)

    def leave(self, socket: Any) -> None:
        with self.lock:
            self.members.discard(socket)

    def say(self, name: str, text: str) -> None:
        """Tell everybody. `send` waits for a client that is slow, so it is called without the lock."""
        line = json.dumps({"name": name, "text": text[:LONGEST]})
        with self.lock:
            self.lines.append(line)
            members = list(self.members)
        for member in members:
            try:
                member.send(line)
            except ConnectionError:
                pass  # it is leaving: its own thread or greenlet finds out


rooms: defaultdict[str, Room] = defaultdict(Room)  # of this process: with several workers they would need a broker


@app.route("/rooms/<room_name>", websocket=True)  # Flask finds no other rules for a WebSocket's handshake
def chat(room_name: str) -> ResponseReturnValue:
    socket = request.environ["eitherway.websocket"]
    name = request.args.get("name", "").strip()
    if not name:
        abort(400, "say who you are: ?name=")  # the WebSocket is not accepted yet, so this is an ordinary answer
    socket.accept()
    room = rooms[room_name]
    try:
        for line in room.join(socket):
            socket.send(line)
        for text in socket:
            if isinstance(text, bytes):
                socket.close(1003, "text only")
            else:
                room.say(name, text)
    finally:
        room.leave(socket)
    return ""  # dropped


@app.get("/rooms")
def list_rooms() -> ResponseReturnValue:
    return jsonify({name: len(room.members) for name, room in rooms.items()})


@app.get("/")
def index() -> str:
    return PAGE


PAGE = """<!doctype html><title>Chat</title>
<h1>Tea room</h1>
<ul id=lines></ul>
<form id=form><input id=text autofocus autocomplete=off> <button>Say</button></form>
<script>
  const name = prompt("Your name?") || "somebody"
  const socket = new WebSocket(`ws://${location.host}/rooms/tea?name=${encodeURIComponent(name)}`)
  const lines = document.getElementById("lines")
  socket.onmessage = event => {
    const {name, text} = JSON.parse(event.data)
    lines.append(Object.assign(document.createElement("li"), {textContent: `${name}: ${text}`}))
  }
  document.getElementById("form").onsubmit = event => {
    const input = document.getElementById("text")
    socket.send(input.value)
    input.value = ""
    event.preventDefault()
  }
</script>
"""
