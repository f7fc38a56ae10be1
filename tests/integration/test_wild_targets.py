"""Webhook targets that answer with anything but HTTP, too much of it or too
late: each is tried again until it behaves, and none is in another's way."""

import json
import socket
import struct
import threading
import time

import pytest
from harness import invariants
from harness.waiting import wait_until
from test_calls import number
from test_processes import wait_whole

PIECE = b"x" * 65536

# What they say to a whole request, then they close.
SAYINGS = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01\x00\xff\x00 garbage \r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "a status of 0": b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    "a status of 999": b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n",
    "a file": b"HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\n\r\n",
    "a length below 0": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    "no chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}

# What they begin with, and say over and over until they are hung up on.
TIRADES = {
    "an endless line": (b"HTTP/1.1 200 OK\r\nX: ", PIECE),
    "an endless head": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 8000 + b"\r\n"),
    "endless goings on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
}


class WildTarget:
    """A target that says what it is told to, until `tame` is set.

    tries   requests that came before that
    events  (seconds since the epoch, event), as they came since then
    """

    def __init__(self, ports, say):
        self._ports, self._say = ports, say
        self.port = ports.take()
        self.tries, self.tame, self.events = 0, False, []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        """The address for webhookUrl."""
        return f"http://127.0.0.1:{self.port}/hook"

    def close(self):
        """Stop listening."""
        self._listener.close()
        self._ports.release(self.port)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._talk, args=(connection,), daemon=True
            ).start()

    def _talk(self, connection):
        with connection, connection.makefile("rb") as lines:
            connection.settimeout(60)
            try:
                body = _read_body(lines)
                if body is None:
                    return
                if not self.tame:
                    self.tries += 1
                    self._say(connection)
                    return
                self.events.append((time.time(), json.loads(body)))
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
                    b"Content-Length: 0\r\n\r\n"
                )
            except OSError:
                pass  # hung up on


def _read_body(lines):
    """The body of the request that comes; None where none does."""
    length = None
    while (line := lines.readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return None if length is None else lines.read(length)


def saying(text):
    """Says it once."""
    return lambda connection: connection.sendall(text)


def tirade(start, more):
    """Begins, and never ends by itself."""

    def say(connection):
        connection.sendall(start)
        while True:
            connection.sendall(more)

    return say


def reset(connection):
    """Goes without a word, and not the usual way."""
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


def silence(connection):
    """Says nothing for as long as it is listened to."""
    connection.recv(1)


@pytest.fixture
def wild(ports):
    """One of each kind, by its name."""
    says = {name: saying(text) for name, text in SAYINGS.items()}
    says.update({name: tirade(*what) for name, what in TIRADES.items()})
    says.update({"a reset": reset, "silence": silence})
    targets = {name: WildTarget(ports, say) for name, say in says.items()}
    yield targets
    for target in targets.values():
        target.close()


def test_each_has_its_events_in_the_end(kaphila, sink, asterisk, wild):
    """While they rage another target has all its events; once they behave
    each has the whole story of its call, by the same webhookd."""
    client = kaphila.client()
    webhookd = kaphila.pid("webhookd")
    ids = {
        name: client.make_call(number("10"), webhookUrl=target.url)
        for name, target in wild.items()
    }
    good = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(good, "call.answered")
    # some take as long as webhook.timeout_ms for each try
    wait_until(
        lambda: all(target.tries >= 2 for target in wild.values()),
        lambda: f"tries: {({n: t.tries for n, t in wild.items()})}",
        60,
    )
    for call_id in (*ids.values(), good):
        client.hangup(call_id)
    wait_whole(sink, good)
    assert not any(target.events for target in wild.values())

    for target in wild.values():
        target.tame = True

    invariants.wait_settled(
        kaphila, lambda: invariants.left_in_asterisk(asterisk.media), 120
    )
    assert kaphila.pid("webhookd") == webhookd
    events = invariants.sink_events(sink)
    timed = [pair for target in wild.values() for pair in target.events]
    both = invariants.Events(
        [(events.received[e["eventId"]], e) for e in events] + timed
    )
    found = invariants.check(kaphila, both, [*ids.values(), good])
    assert not found, "\n".join(found)
