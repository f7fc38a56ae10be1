"""A webhook target inside the test process, which misbehaves when told to."""

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .waiting import wait_until


@dataclass
class Delivery:
    """One POST as it came. `answer` is the status that it got."""

    path: str
    headers: dict  # names in lower case
    body: bytes
    event: dict  # {} if the body was no JSON object
    received_at: float  # time.time()
    answer: int = 200

    @property
    def kind(self):
        """The event's name, such as "call.ended"."""
        return self.event.get("event")

    @property
    def call_id(self):
        """The call that the event is about."""
        return self.event.get("callId")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def do_POST(self):
        """Record first, then answer: what was answered is in the list."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            event = json.loads(body)
        except ValueError:
            event = None
        delivery = Delivery(
            path=self.path,
            headers={k.lower(): v for k, v in self.headers.items()},
            body=body,
            event=event if isinstance(event, dict) else {},
            received_at=time.time(),
        )
        self.server.sink.take(delivery)
        self.send_response(delivery.answer)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Failures are shown by the test."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_):
        """A client that goes away is no error of the sink's."""


class WebhookSink:
    """Collects deliveries in the order of their arrival.

    deliveries  all of them, also those that were answered with an error
    behaviour   called with each Delivery before it is answered; returns the
                status to answer with, and may sleep. None: 200 at once.
    """

    def __init__(self, ports):
        self._ports = ports
        self.port = ports.take()
        self.deliveries = []
        self.behaviour = None
        self._lock = threading.Lock()
        self._server = None
        self.up()

    @property
    def url(self):
        """The address for webhookUrl."""
        return f"http://127.0.0.1:{self.port}/hook"

    def up(self):
        """Listen again after down()."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.sink = self
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def down(self):
        """Stop listening: connects are refused. Open connections stay."""
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def close(self):
        """Stop for good."""
        if self._server is not None:
            self.down()
        self._ports.release(self.port)

    def take(self, delivery):
        """Called by the handler, in a thread of its own."""
        with self._lock:
            self.deliveries.append(delivery)
        if self.behaviour is not None:
            delivery.answer = self.behaviour(delivery)

    def events(self, call_id=None, kind=None):
        """Accepted events (those answered 2xx), repeats of an eventId left
        out, in the order of arrival; of one call and one kind if given."""
        seen = set()
        found = []
        with self._lock:
            deliveries = list(self.deliveries)
        for delivery in deliveries:
            event = delivery.event
            if delivery.answer >= 300 or event.get("eventId") in seen:
                continue
            seen.add(event.get("eventId"))
            if call_id is not None and delivery.call_id != call_id:
                continue
            if kind is None or delivery.kind == kind:
                found.append(event)
        return found

    def kinds(self, call_id):
        """The names of a call's events, in the order of arrival."""
        return [event.get("event") for event in self.events(call_id)]

    def wait(self, call_id, kind, timeout_s=30.0):
        """The first event of that kind for the call."""
        return wait_until(
            lambda: next(iter(self.events(call_id, kind)), None),
            lambda: f"{kind} of {call_id}; so far: {self.kinds(call_id)}",
            timeout_s,
        )

    def wait_count(self, kind, count, timeout_s=60.0):
        """Until that many events of a kind came, over all calls; the list."""

        def enough():
            found = self.events(kind=kind)
            return found if len(found) >= count else None

        return wait_until(
            enough,
            lambda: f"{count} × {kind}; so far {len(self.events(kind=kind))}",
            timeout_s,
        )
