"""The chat through a client that others wrote: `websockets` from PyPI.

    python_client.py URL
"""
import json
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url = sys.argv[1]


def until(socket, kind, **wanted):
    while True:
        event = json.loads(socket.recv(timeout=20))
        if event["type"] == kind and all(event.get(key) == value for key, value in wanted.items()):
            return event


# It offers compression, which is declined, and pings by itself.
with connect(url, ping_interval=0.2) as anna, connect(url) as bob:
    anna.send("/nick anna")
    anna.send("/join den")
    until(anna, "joined", name="anna")
    bob.send("/join den")
    until(bob, "joined", name="guest2")
    for count in range(100):
        (anna, bob)[count % 2].send(f"message {count}")
    heard = [[until(socket, "message")["text"] for _ in range(100)] for socket in (anna, bob)]
    assert heard[0] == heard[1]
    assert sorted(heard[0]) == sorted(f"message {count}" for count in range(100))
    text = "ä€😀" * 400
    anna.send([f"/say den {text[:500]}", text[500:]])
    last = until(bob, "message", text=text)
    room = last["number"]

with connect(url) as bob:
    bob.send(f"/join den {room}")
    numbers = [until(bob, "left")["number"], until(bob, "left")["number"]]
    assert numbers == [room + 1, room + 2] or numbers[0] > room, numbers
    bob.send(b"bytes")
    try:
        while True:
            bob.recv(timeout=20)
    except ConnectionClosed as closed:
        assert closed.rcvd.code == 1003, closed
print("ok: websockets talks, in one order, with fragments, and resumes")
