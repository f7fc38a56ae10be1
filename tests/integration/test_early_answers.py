"""A carrier that answers before the originate's reply is there, which it does
for some calls by itself, and for all of them here: the replies are kept back on
their way. No event may be lost."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.waiting import wait_until
from test_calls import number

CALLS = 500
RATE = 35  # calls a second to begin with; two cores with sanitizers hold it
LIVE_MAX = 80  # a test's Asterisk has RTP ports for 100 calls
LATE_S = 0.25  # what an originate's reply is kept back for
KINDS = [
    "call.initiated",
    "call.answered",
    "recording.started",
    "call.ended",
    "recording.completed",
]


class LateReplies:
    """Stands before an Asterisk's ARI and keeps back what it says on the
    connections that originates go over; all else passes at once."""

    def __init__(self, asterisk, ports):
        self._to = ("127.0.0.1", asterisk.http_port)
        self._ports = ports
        self.port = ports.take()
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self):
        await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n")
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            far_writer.write(head)
            late = LATE_S if b"-originate" in head else 0
            await asyncio.gather(
                self._pass(reader, far_writer, 0),
                self._pass(far_reader, writer, late),
            )
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def _pass(self, reader, writer, late):
        """Each piece after `late` seconds, in order, however many wait."""

        def write(piece):
            if piece and not writer.is_closing():
                writer.write(piece)
            else:
                writer.close()

        piece = b"-"
        while piece:
            try:
                piece = await reader.read(65536)
            except OSError:
                piece = b""
            if late:
                self._loop.call_later(late, write, piece)
            else:
                write(piece)

    def close(self):
        """End all connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._ports.release(self.port)


@pytest.fixture
def late_replies(asterisk, ports):
    """A LateReplies before the shared media Asterisk."""
    proxy = LateReplies(asterisk.media, ports)
    yield proxy
    proxy.close()


class Caller:
    """Places calls at a steady rate and hangs each up once it is recorded."""

    def __init__(self, kaphila, sink, key):
        self._kaphila = kaphila
        self._url = sink.url
        self._key = key
        self._room = threading.Semaphore(LIVE_MAX)
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(16)
        self.answers = []
        sink.behaviour = self._on_delivery

    def _client(self):
        """A session for each thread; their connections spread over the
        workers."""
        if not hasattr(self._local, "client"):
            self._local.client = self._kaphila.api(self._key)
        return self._local.client

    def _place(self):
        response = self._client().post(
            "/makecall",
            json={"number": number("10"), "webhookUrl": self._url},
            timeout=60,
        )
        self.answers.append((response.status_code, response.json()))

    def _hang_up(self, call_id):
        response = self._client().post("/hangup", json={"callId": call_id})
        self.answers.append((response.status_code, response.json()))

    def _on_delivery(self, delivery):
        if delivery.kind == "recording.started":
            self._pool.submit(self._hang_up, delivery.call_id)
        elif delivery.kind == "call.ended":
            self._room.release()
        return 200

    def run(self):
        """All the calls; returns when each has had its answer."""
        begun = time.monotonic()
        placing = []
        for i in range(CALLS):
            assert self._room.acquire(timeout=60), "no call ends"
            time.sleep(max(0.0, begun + i / RATE - time.monotonic()))
            placing.append(self._pool.submit(self._place))
        for one in placing:
            one.result(timeout=60)

    def close(self):
        """Until what was begun is over."""
        self._pool.shutdown()


def is_idle(asterisk):
    """True if the media Asterisk has no channel and no bridge."""
    ari = asterisk.media.ari()
    try:
        return ari.get("channels") == [] and ari.get("bridges") == []
    finally:
        ari.close()


@pytest.mark.serial
def test_no_event_is_lost(
    late_replies, asterisk, database, make_kaphila, sink
):
    """500 calls: each with all its events, each event once, in order."""
    kaphila = make_kaphila(
        asterisk.media, database, {"asterisk.url": late_replies.url}
    )
    key = kaphila.create_key(credits=CALLS)
    caller = Caller(kaphila, sink, key)
    try:
        caller.run()
        sink.wait_count("recording.completed", CALLS, 120)
        sink.wait_count("call.ended", CALLS)
    finally:
        caller.close()
    faults = [answer for answer in caller.answers if answer[0] != 200]
    assert not faults, faults[:5]

    calls = {}
    for delivery in list(sink.deliveries):
        calls.setdefault(delivery.call_id, []).append(delivery.event)
    assert len(calls) == CALLS
    for call_id, events in calls.items():
        assert [event["event"] for event in events] == KINDS, call_id
        assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    times = Counter(delivery.event["eventId"] for delivery in sink.deliveries)
    assert len(times) == CALLS * len(KINDS) and set(times.values()) == {1}

    client = kaphila.api(key)
    assert client.get("/calls").json()["calls"] == []
    wait_until(lambda: is_idle(asterisk), "no channel and no bridge", 30)
    assert client.get("/api/me").json()["apiKey"]["credits"] == 0
    wait_until(
        lambda: database.query(
            "SELECT (SELECT credits FROM api_keys), (SELECT count(*) FROM"
            " credit_ledger WHERE kind = 'charge'), (SELECT count(*) FROM"
            " call_logs WHERE was_answered), (SELECT count(*) FROM recordings)"
        )
        == [(0, CALLS, CALLS, CALLS)],
        "the ledger to drain",
        60,
    )
    assert len(list(kaphila.recordings_dir.rglob("*.wav"))) == CALLS
    # The answer was the first that was seen of a call, or this tests nothing.
    moved = kaphila.log_text().count("from=queued to=answered")
    assert moved > CALLS / 10, f"{moved} of {CALLS} answered before the reply"
    # Both workers had their share.
    accepted = Counter(
        line.split("[")[0].split()[-1]
        for line in kaphila.log_text().splitlines()
        if " call accepted " in line
    )
    assert sum(accepted.values()) == CALLS and len(accepted) == 2, accepted
