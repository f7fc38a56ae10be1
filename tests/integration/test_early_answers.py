"""A carrier that answers before the originate's reply is there, which it does
for some calls by itself, and for all of them here: the replies are kept back on
their way. No event may be lost."""

import asyncio
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.waiting import wait_until
from test_calls import number, requests_empty

CALLS = 500
RATE = 35  # calls a second to begin with; two cores with sanitizers hold it
LIVE_MAX = 80  # a test's Asterisk has RTP ports for 100 calls
FIRST = ["call.initiated", "call.answered", "recording.started"]
LAST = {"call.ended", "recording.completed"}  # in either order


class LateReplies:
    """Stands before an Asterisk's ARI. What it says on the connections that
    originates go over is kept back until `answered` has the calls it is about;
    all else passes at once.

    kept  the calls whose reply has come behind their answer
    """

    def __init__(self, asterisk, ports):
        self.answered = set()
        self.kept = set()
        self._to = ("127.0.0.1", asterisk.http_port)
        self._ports = ports
        self.port = ports.take()
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._in_loop(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def _in_loop(self, coroutine):
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _serve(self, reader, writer):
        try:
            # The app of a WebSocket, or the user agent over HTTP.
            head = await reader.readuntil(b"\r\n\r\n")
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            far_writer.write(head)
            await asyncio.gather(
                self._pass(reader, far_writer, False),
                self._pass(far_reader, writer, b"-originate" in head),
            )
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def _pass(self, reader, writer, keep_back):
        try:
            while piece := await reader.read(65536):
                if keep_back:
                    await self._wait_answered(piece)
                writer.write(piece)
                await writer.drain()
        finally:
            writer.close()

    async def _wait_answered(self, piece):
        calls = set(re.findall(rb"\b\d{10}\.\d+\b", piece))
        calls = {call_id.decode() for call_id in calls}
        for _ in range(2000):  # the originate's own limit is 5 s
            if calls <= self.answered:
                self.kept |= calls
                return
            await asyncio.sleep(0.005)

    async def _end(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def close(self):
        """End all connections."""
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._ports.release(self.port)


@pytest.fixture
def late_replies(asterisk, ports):
    """A LateReplies before the shared media Asterisk."""
    proxy = LateReplies(asterisk.media, ports)
    yield proxy
    proxy.close()


class Caller:
    """Places calls at a steady rate and hangs each up once it is recorded."""

    def __init__(self, kaphila, sink, key, answered):
        self._kaphila = kaphila
        self._answered = answered
        self._url = sink.url
        self._key = key
        self._room = threading.Semaphore(LIVE_MAX)
        self._pool = ThreadPoolExecutor(16)
        self.answers = []
        sink.behaviour = self._on_delivery

    def _post(self, path, body):
        """On a connection of its own, so to any of the workers."""
        with self._kaphila.api(self._key) as client:
            response = client.post(path, json=body, timeout=60)
        self.answers.append((response.status_code, response.json()))

    def _place(self):
        self._post(
            "/makecall", {"number": number("10"), "webhookUrl": self._url}
        )

    def _hang_up(self, call_id):
        self._post("/hangup", {"callId": call_id})

    def _on_delivery(self, delivery):
        if delivery.kind == "call.answered":
            self._answered.add(delivery.call_id)
        elif delivery.kind == "recording.started":
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


@pytest.mark.serial
def test_no_event_is_lost(late_replies, asterisk, database, make_kaphila, sink):
    """500 calls: each with all its events, each event once, in order."""
    kaphila = make_kaphila(
        asterisk.media, database, {"asterisk.url": late_replies.url}
    )
    key = kaphila.create_key(credits=CALLS)
    caller = Caller(kaphila, sink, key, late_replies.answered)
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
        kinds = [event["event"] for event in events]
        assert kinds[:3] == FIRST and set(kinds[3:]) == LAST, call_id
        assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    times = Counter(delivery.event["eventId"] for delivery in sink.deliveries)
    assert len(times) == CALLS * 5 and set(times.values()) == {1}

    client = kaphila.api(key)
    assert client.get("/calls").json()["calls"] == []
    wait_until(lambda: requests_empty(asterisk), "no channel and no bridge", 30)
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
    # No reply came before its call's answer.
    assert late_replies.kept == set(calls)
    # Both workers had their share.
    accepted = Counter(
        line.split("[")[0].split()[-1]
        for line in kaphila.log_text().splitlines()
        if " call accepted " in line
    )
    assert sum(accepted.values()) == CALLS and len(accepted) == 2, accepted
