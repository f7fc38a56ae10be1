"""Trunks that fail, rest, or are full: a call goes on on the next one under
its own id, on a real Asterisk and a real carrier.

What a trunk does is in its template, for the carrier behaves as the last two
digits say: with "05" behind the number it is congested, whatever is dialled.
"""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from harness import invariants
from harness.kaphila import Api
from harness.waiting import wait_until
from test_api import refused
from test_calls import check_events, log_row, number

CONGESTED = ("05", "carrier")
BUSY = ("03", "carrier")
GOOD = ("", "carrier2")
SILENT = ("", "dead")  # an INVITE there is never answered
NOWHERE = ("", "nowhere")  # Asterisk has no such endpoint


def template(digits, endpoint):
    """The template that makes a trunk behave so."""
    return f"PJSIP/00{{number}}{digits}@{endpoint}"


class AnyWorker:
    """A key on a node. Each of its requests comes on a connection of its own,
    so at any worker."""

    def __init__(self, kaphila, **key_options):
        self._base_url = kaphila.base_url
        self._key = kaphila.create_key(**key_options)

    def session(self):
        """A connection that stays; the caller closes it."""
        return Api(self._base_url, self._key)

    def _request(self, method, path, **arguments):
        with self.session() as api:
            return api.request(method, path, **arguments)

    def get(self, path, **arguments):
        """As that of requests."""
        return self._request("GET", path, **arguments)

    def post(self, path, **arguments):
        """As that of requests."""
        return self._request("POST", path, **arguments)


def client_with(kaphila, *trunks, credits=1000):
    """A client (AnyWorker) whose key has these trunks, (name, kind, options …) each, the
    first before the second where no option says otherwise."""
    for place, (name, kind, *options) in enumerate(trunks):
        if "--priority" not in options:
            options += ["--priority", place]
        kaphila.ctl(
            "trunks", "add", name, "--template", template(*kind), *options
        )
    names = [name for name, *_ in trunks]
    return AnyWorker(kaphila, trunks=names, credits=credits)


def place_call(client, sink, digits, **body):
    """The whole answer of a /makecall that must succeed."""
    response = client.post(
        "/makecall",
        json={"number": number(digits), "webhookUrl": sink.url, **body},
    )
    assert response.status_code == 200, response.text
    return response.json()


def states(kaphila):
    """What `kaphilactl trunks` shows, by the trunks' names."""
    return {row["trunk"]: row for row in kaphila.ctl("trunks")}


def no_calls_left(kaphila):
    """Every trunk is free again."""
    wait_until(
        lambda: not any(row["calls"] for row in states(kaphila).values()),
        lambda: f"no call on any trunk; last: {states(kaphila)}",
    )


def channels(asterisk):
    """The ids of the media Asterisk's channels."""
    ari = asterisk.media.ari()
    try:
        return [channel["id"] for channel in ari.get("channels")]
    finally:
        ari.close()


def rerouted(sink, call_id):
    """(trunk, next trunk, cause) of each call.rerouted."""
    return [
        (event["trunk"], event["nextTrunk"], str(event["hangupCause"]))
        for event in sink.events(call_id, "call.rerouted")
    ]


def told_once(events):
    """What must be told exactly once, however many trunks were tried."""
    kinds = [event["event"] for event in events]
    check_events(events)
    assert kinds.count("call.initiated") == kinds.count("call.ended") == 1
    assert kinds[0] == "call.initiated"
    assert all(event["status"] != "queued" for event in events)


@pytest.fixture
def node(asterisk, database, make_kaphila):
    """A kaphila that waits for a carrier's sign, however slow this machine."""
    return make_kaphila(
        asterisk.media, database, settings={"trunks.timeout_ms": 20000}
    )


@pytest.fixture
def hasty(asterisk, database, make_kaphila):
    """A kaphila that does not: for trunks that give none."""
    return make_kaphila(
        asterisk.media, database, settings={"trunks.timeout_ms": 3000}
    )


def test_congestion_goes_on_on_the_next_trunk(node, sink, database, asterisk):
    """A 503 of the carrier: one call, one set of events, one charge."""
    client = client_with(node, ("bad", CONGESTED), ("good", GOOD), credits=5)
    answer = place_call(client, sink, "08")
    call_id = answer["callId"]
    assert answer["totalTrunks"] == 2

    done = sink.wait(call_id, "recording.completed")
    assert len(list(node.recordings_dir.rglob(done["filename"]))) == 1
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == (
        "completed",
        "normal_hangup",
    )
    events = sink.events(call_id)
    told_once(events)
    kinds = [event["event"] for event in events]
    assert kinds[:4] == [
        "call.initiated",
        "call.rerouted",
        "call.ringing",
        "call.answered",
    ]
    assert (events[0]["trunk"], events[0]["trunkAttempts"]) == ("bad", 1)
    assert rerouted(sink, call_id) == [("bad", "good", "34")]
    assert events[1]["trunkAttempts"] == 2
    assert log_row(database, call_id)[5] == "good"
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(4,)],
        "one charge",
    )
    no_calls_left(node)
    found = states(node)
    assert (found["bad"]["dialled"], found["bad"]["failed"]) == (1, 1)
    assert (found["good"]["dialled"], found["good"]["failed"]) == (1, 0)
    assert node.metrics()["kaphila_calls_rerouted_total"] == 1
    wait_until(lambda: not channels(asterisk), "no channel")


def test_a_silent_trunk_is_left(hasty, sink, database, asterisk):
    """No sign in time: the next trunk, and the first channel is gone."""
    client = client_with(hasty, ("mute", SILENT), ("good", GOOD))
    call_id = place_call(client, sink, "04")["callId"]

    sink.wait(call_id, "call.ringing")
    wait_until(
        lambda: channels(asterisk) == [f"{call_id}-2"],
        lambda: f"the second channel alone; now {channels(asterisk)}",
    )
    assert rerouted(sink, call_id) == [("mute", "good", "102")]
    shown = client.get(f"/calls/{call_id}").json()
    assert shown["status"] == "ringing"
    assert client.post("/hangup", json={"callId": call_id}).ok
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("canceled", "api_hangup")
    told_once(sink.events(call_id))
    assert log_row(database, call_id)[5] == "good"
    no_calls_left(hasty)
    assert states(hasty)["mute"]["failed"] == 1


@pytest.mark.parametrize(
    "digits, status, reason",
    [
        ("03", "busy", "busy"),
        ("06", "failed", "rejected"),
        ("09", "failed", "invalid_number"),
    ],
)
def test_an_ordinary_refusal_is_the_end(node, sink, digits, status, reason):
    """What the called party says is not the trunk's fault."""
    client = client_with(node, ("first", GOOD), ("second", GOOD))
    call_id = place_call(client, sink, digits)["callId"]
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == (status, reason)
    assert rerouted(sink, call_id) == []
    no_calls_left(node)
    assert states(node)["first"]["failed"] == 0
    assert states(node)["first"]["dialled"] == 1
    assert "second" not in states(node) or not states(node)["second"]["dialled"]


def test_hung_up_on_the_way(asterisk, database, make_kaphila, sink):
    """By the client, on the first trunk and on the second: no other is
    tried any more, and no channel stays."""
    kaphila = make_kaphila(
        asterisk.media, database, settings={"trunks.timeout_ms": 5000}
    )
    client = client_with(
        kaphila, ("one", SILENT), ("two", SILENT), ("three", GOOD)
    )
    for hops in (0, 1):
        call_id = place_call(client, sink, "04")["callId"]
        wait_until(
            lambda: len(rerouted(sink, call_id)) == hops,
            f"{hops} × call.rerouted",
        )
        assert client.post("/hangup", json={"callId": call_id}).ok
        ended = sink.wait(call_id, "call.ended")
        assert (ended["status"], ended["endReason"]) == (
            "canceled",
            "api_hangup",
        )
        wait_until(lambda: not channels(asterisk), "no channel")
        assert len(rerouted(sink, call_id)) == hops
        told_once(sink.events(call_id))
    no_calls_left(kaphila)
    assert not states(kaphila).get("three", {}).get("dialled")


def test_every_trunk_fails(hasty, sink, database, asterisk):
    """One after the other, each in its own way; then it is over."""
    client = client_with(
        hasty, ("bad", CONGESTED), ("mute", SILENT), ("none", NOWHERE)
    )
    call_id = place_call(client, sink, "08")["callId"]
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("failed", "congestion")
    assert rerouted(sink, call_id) == [
        ("bad", "mute", "34"),
        ("mute", "none", "102"),
    ]
    told_once(sink.events(call_id))
    assert log_row(database, call_id)[:2] == ("failed", "congestion")
    no_calls_left(hasty)
    assert [
        states(hasty)[name]["failed"] for name in ("bad", "mute", "none")
    ] == [
        1,
        1,
        1,
    ]
    wait_until(lambda: not channels(asterisk), "no channel")
    assert database.query("SELECT credits FROM api_keys") == [(1000,)]


def seconds(text):
    """A time as JSON has it, in seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def rest_s(kaphila, sink, call_id, trunk):
    """For how long a trunk rests since it failed this call."""
    (event,) = sink.events(call_id, "call.rerouted")
    assert event["trunk"] == trunk
    row = states(kaphila)[trunk]
    assert row["circuit"] == "resting", row
    return seconds(row["restsUntil"]) - seconds(event["timestamp"])


def wait_rest(kaphila, trunk):
    """Until a trunk's rest is over."""
    end = seconds(states(kaphila)[trunk]["restsUntil"])
    wait_until(lambda: time.time() > end, f"{trunk} to have rested", 60, 0.1)


def fail_twice(client, sink):
    """Two calls that the first trunk fails; the second's id."""
    for _ in range(2):
        call_id = place_call(client, sink, "03")["callId"]
        sink.wait(call_id, "call.ended")
        assert rerouted(sink, call_id) == [("flaky", "good", "34")]
    return call_id


@pytest.fixture
def rest(asterisk, database, make_kaphila):
    """rest(seconds, at the most): a kaphila where a trunk rests for so long
    after two failures, a client with "flaky" and "good", one with "flaky"."""

    def make(rest_s, most_s):
        kaphila = make_kaphila(
            asterisk.media,
            database,
            settings={
                "trunks.timeout_ms": 20000,
                "trunks.circuit_failures": 2,
                "trunks.circuit_rest_s": rest_s,
                "trunks.circuit_rest_max_s": most_s,
            },
        )
        client = client_with(kaphila, ("flaky", CONGESTED), ("good", GOOD))
        return kaphila, client, AnyWorker(
            kaphila, name="alone", trunks=["flaky"]
        )

    return make


def test_a_trunk_rests(rest, sink):
    """After its failures it is left alone, and for longer when the call that
    tries it again fails."""
    kaphila, client, alone = rest(20, 30)
    failed = fail_twice(client, sink)
    assert rest_s(kaphila, sink, failed, "flaky") == pytest.approx(20, abs=1)
    assert states(kaphila)["flaky"]["failuresInARow"] == 2

    answer = place_call(client, sink, "03")
    assert (answer["trunk"], answer["trunkAttempts"]) == ("good", 1)
    assert answer["totalTrunks"] == 2
    response = alone.post("/makecall", json={"number": number("03")})
    refused(response, 503, "TRUNKS_BUSY", "All trunks are busy or resting")
    assert 1 <= int(response.headers["Retry-After"]) <= 20

    # The first call behind the rest is the probe; it fails.
    wait_rest(kaphila, "flaky")
    failed = place_call(client, sink, "03")["callId"]
    sink.wait(failed, "call.ended")
    assert rerouted(sink, failed) == [("flaky", "good", "34")]
    assert rest_s(kaphila, sink, failed, "flaky") == pytest.approx(30, abs=1)
    assert kaphila.metrics()["kaphila_trunk_rests_total"] == 2
    assert "a trunk rests" in kaphila.log_text()


def test_a_trunk_recovers(rest, sink):
    """Its carrier is repaired: the call that tries it again closes the
    circuit, and others follow."""
    kaphila, client, alone = rest(1, 1)
    fail_twice(client, sink)
    kaphila.ctl("trunks", "set", "flaky", "--template", template(*GOOD))
    wait_rest(kaphila, "flaky")
    answer = place_call(alone, sink, "03")
    sink.wait(answer["callId"], "call.ended")
    flaky = wait_until(
        lambda: (row := states(kaphila)["flaky"])["circuit"] == "closed"
        and row,
        "the circuit to close",
    )
    assert flaky["failuresInARow"] == 0 and flaky["restsUntil"] is None
    assert place_call(client, sink, "03")["trunk"] == "flaky"
    no_calls_left(kaphila)


def test_max_calls(kaphila, sink):
    """A full trunk is passed over; when all are, it is a 503."""
    client = client_with(
        kaphila,
        ("small", GOOD, "--max-calls", 1),
        ("other", GOOD, "--max-calls", 2),
    )
    answers = [place_call(client, sink, "04") for _ in range(3)]
    assert [a["trunk"] for a in answers] == ["small", "other", "other"]
    assert {a["trunkAttempts"] for a in answers} == {1}
    found = states(kaphila)
    assert [found[name]["calls"] for name in ("small", "other")] == [1, 2]
    assert [found[name]["maxCalls"] for name in ("small", "other")] == [1, 2]

    response = client.post(
        "/makecall",
        json={"number": number("04")},
        headers={"Idempotency-Key": "again"},
    )
    refused(response, 503, "TRUNKS_BUSY", "All trunks are busy or resting")
    assert response.headers["Retry-After"] == "5"
    assert client.get("/calls").json()["totalCalls"] == 3

    assert client.post("/hangup", json={"callId": answers[0]["callId"]}).ok
    sink.wait(answers[0]["callId"], "call.ended")
    response = client.post(
        "/makecall",
        json={"number": number("04"), "webhookUrl": sink.url},
        headers={"Idempotency-Key": "again"},
    )
    assert response.json().get("trunk") == "small", response.text
    for call_id in [a["callId"] for a in answers[1:]] + [
        response.json()["callId"]
    ]:
        assert client.post("/hangup", json={"callId": call_id}).ok
        sink.wait(call_id, "call.ended")
    no_calls_left(kaphila)


def test_max_cps(kaphila, sink):
    """So many calls in a second, then the next trunk, then a 503."""
    customer = client_with(
        kaphila,
        ("slow", GOOD, "--max-cps", 2),
        ("slower", GOOD, "--max-cps", 1),
    )
    client = customer.session()  # a second is short

    def in_one_second():
        """The trunks of four calls; None unless one second had them all."""
        time.sleep(1.02 - time.time() % 1)
        second = int(time.time())
        got = [
            client.post("/makecall", json={"number": number("03")})
            for _ in range(4)
        ]
        return got if time.time() < second + 0.95 else None

    got = wait_until(in_one_second, "four calls in a second", 120, 0)
    client.close()
    assert [response.json().get("trunk") for response in got] == [
        "slow",
        "slow",
        "slower",
        None,
    ]
    refused(got[3], 503, "TRUNKS_BUSY", "All trunks are busy or resting")
    assert got[3].headers["Retry-After"] == "1"
    no_calls_left(kaphila)


def test_priorities_and_weights(kaphila, sink):
    """Turns by weight among the lowest priority, exactly; whichever worker is
    asked. Another key has turns of its own."""
    client = client_with(
        kaphila,
        ("later", GOOD, "--priority", 7, "--weight", 100),
        ("often", GOOD, "--priority", 2, "--weight", 3),
        ("seldom", GOOD, "--priority", 2),
    )
    other = AnyWorker(kaphila, name="other", trunks=["often", "seldom"])
    names = []
    for i in range(12):
        names.append(place_call(client, sink, "03")["trunk"])
        if i % 3 == 0:
            place_call(other, sink, "03")
    assert names == ["often", "often", "seldom", "often"] * 3
    sink.wait_count("call.ended", 16)
    no_calls_left(kaphila)
    found = states(kaphila)
    assert (found["often"]["dialled"], found["seldom"]["dialled"]) == (12, 4)


def test_settings_of_trunks(kaphila):
    """What add and set write, list shows; what is out of range is refused."""
    kaphila.ctl("trunks", "add", "plain")
    kaphila.ctl("trunks", "add", "full", "--weight", 9, "--max-cps=12")
    kaphila.ctl("trunks", "set", "full", "--priority", 3, "--max-calls", 40)
    rows = {row["name"]: row for row in kaphila.ctl("trunks", "list")}
    shown = ("priority", "weight", "maxCalls", "maxCps", "template")
    default = "PJSIP/00{number}@{trunk}"
    assert [rows["plain"][k] for k in shown] == [0, 1, 0, 0, default]
    assert [rows["full"][k] for k in shown] == [3, 9, 40, 12, default]
    for option, value in (
        ("--priority", -1),
        ("--priority", 1001),
        ("--weight", 0),
        ("--weight", 101),
        ("--max-calls", "many"),
        ("--max-cps", -5),
        ("--template", "PJSIP/0@carrier"),
    ):
        for verb in ("add", "set"):
            done = kaphila.ctl(
                "trunks", verb, "plain", f"{option}={value}", check=False
            )
            assert done.returncode == 2, (verb, option, value, done.stderr)
    done = kaphila.ctl("trunks", "set", "missing", "--weight", 2, check=False)
    assert done.returncode == 1 and "no trunk 'missing'" in done.stderr
    assert kaphila.ctl("trunks") == []


def keep_killing(kaphila, over, killed):
    """kill -9 of one worker after the other, each when it was ready.

    killed  list of their names, grows
    """
    while not over.is_set():
        name = f"worker.{len(killed) % 2}"
        kaphila.wait_new_pid(name, kaphila.signal(name))
        killed.append(name)


def try_call(client, sink, digits):
    """The id of a call that was accepted, or None."""
    body = {"number": number(digits), "webhookUrl": sink.url}
    try:
        response = client.post("/makecall", json=body)
    except OSError:
        return None  # its worker was killed
    return response.json()["callId"] if response.status_code == 200 else None


def test_counts_are_exact_over_crashes(asterisk, database, make_kaphila, sink):
    """Workers are killed while calls go from trunk to trunk: each call ends
    once, and every trunk is free again."""
    kaphila = make_kaphila(
        asterisk.media,
        database,
        settings={"trunks.timeout_ms": 800, "trunks.circuit_failures": 0},
    )
    client = client_with(
        kaphila, ("bad", CONGESTED), ("mute", SILENT), ("good", GOOD)
    )
    over, killed = threading.Event(), []
    tried, accepted = itertools.count(), []

    def enough():
        """Place one more call; true once there were enough of all."""
        assert not killer.done(), killer.result()
        n = next(tried)
        call_id = try_call(client, sink, ("08", "03", "05")[n % 3])
        if call_id is not None:
            accepted.append(call_id)
        return n >= 24 and len(accepted) >= 12 and len(killed) >= 2

    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(keep_killing, kaphila, over, killed)
        try:
            wait_until(
                enough,
                lambda: f"12 calls, so far {len(accepted)}, while 2 workers"
                f" are killed, so far {len(killed)}",
                120,
                0.15,
            )
        finally:
            over.set()
        killer.result(120)
    invariants.wait_settled(
        kaphila, lambda: invariants.left_in_asterisk(asterisk.media)
    )
    faults = invariants.check(kaphila, invariants.sink_events(sink), accepted)
    assert not faults, "\n".join(faults)
    no_calls_left(kaphila)
    found = states(kaphila)
    assert found["bad"]["dialled"] >= len(accepted)
    assert found["good"]["dialled"] > 0
