"""POST /forwardcall on the real pair: two legs in one bridge, told of each
other's ends; a second leg that comes to nothing leaves the first as it was;
and all of it with workers killed on the way."""

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness import audio, invariants
from harness.waiting import wait_until
from test_calls import check_events, log_row, number
from test_processes import check_files, wait_charged, wait_idle, wait_whole

TRANSFER = {"call.transferred", "call.transfer_failed"}


class Legs:
    """A key on a node, and the calls that it has made."""

    def __init__(self, kaphila, sink, **key_options):
        self.kaphila = kaphila
        self.sink = sink
        self.key = kaphila.create_key(**key_options)
        self.calls = []

    def api(self):
        """On a connection of its own, so of any worker."""
        return self.kaphila.api(self.key)

    def first(self, digits="10", **body):
        """An answered first leg in its bridge; its id."""
        call_id = self.api().make_call(
            number(digits), webhookUrl=self.sink.url, **body
        )
        self.calls.append(call_id)
        self.sink.wait(call_id, "call.answered")
        wait_until(
            lambda: self.show(call_id).get("hasBridge"), "the first's bridge"
        )
        return call_id

    def post(self, call_id, digits, **body):
        """POST /forwardcall; the response."""
        return self.api().post(
            "/forwardcall",
            json={"callId": call_id, "forwardNumber": number(digits), **body},
        )

    def forward(self, call_id, digits, **body):
        """The same, which must succeed; the second leg's id."""
        response = self.post(call_id, digits, **body)
        assert response.status_code == 200, response.text
        second = response.json()["forwardedCallId"]
        self.calls.append(second)
        return second

    def joined(self, *first, second="10"):
        """Two legs that talk; their ids."""
        one = self.first(*first)
        other = self.forward(one, second)
        self.sink.wait(one, "call.transferred")
        wait_until(
            lambda: self.show(other).get("hasBridge"), "the second's bridge"
        )
        return one, other

    def show(self, call_id):
        """GET /calls/:callId, decoded."""
        return self.api().get(f"/calls/{call_id}").json()

    def hang_up(self, call_id):
        """POST /hangup, which must succeed."""
        response = self.api().post("/hangup", json={"callId": call_id})
        assert response.status_code == 200, response.text

    def of(self, call_id, kinds):
        """The events of these kinds of a call."""
        return [e for e in self.sink.events(call_id) if e["event"] in kinds]

    def ended(self, call_id):
        """The one call.ended, all else being there too."""
        events = wait_whole(self.sink, call_id)
        check_files(self.kaphila, events)
        (ended,) = [e for e in events if e["event"] == "call.ended"]
        return ended

    def settle(self, asterisk, answered):
        """All is over: nothing is left anywhere, and the sums are right."""
        wait_idle(asterisk)
        wait_charged(self.kaphila.database, 1000, answered)
        known = set(self.calls)
        invariants.wait_settled(
            self.kaphila,
            left=lambda: invariants.left_in_asterisk(asterisk.media, known),
        )
        found = invariants.check(
            self.kaphila, invariants.sink_events(self.sink), known
        )
        assert not found, "\n".join(found)


@pytest.fixture
def legs(kaphila, sink):
    """Of a key on the shared pair."""
    return Legs(kaphila, sink)


def bridge_of(asterisk, call_id):
    """The channels in the call's bridge; None where there is no bridge."""
    ari = asterisk.media.ari()
    try:
        response = ari.request("GET", f"bridges/bridge-{call_id}")
        if response.status_code == 404:
            return None
        return set(response.json()["channels"])
    finally:
        ari.close()


def together(asterisk, first, second):
    """True if both legs (and nobody else of ours) are in the first's."""
    channels = bridge_of(asterisk, first)
    return channels is not None and {first, second} <= channels


@pytest.mark.parametrize("hung_up", ["first", "second"])
def test_both_talk_in_one_bridge(legs, sink, database, asterisk, hung_up):
    """01 is forwarded to 07: what is answered, told, shown and charged."""
    first = legs.first("01", metadata={"campaign": 7}, callerId="19172452367")
    response = legs.post(first, "07")
    assert response.status_code == 200, response.text
    answer = response.json()
    second = answer["forwardedCallId"]
    legs.calls.append(second)
    assert answer["success"] is True and answer["status"] == "ringing"
    assert answer["callId"] == first != second
    assert answer["forwardNumber"] == number("07")
    assert answer["message"] == (
        f"Call {first} is being forwarded to {number('07')}"
    )
    assert (answer["credits"], answer["trunk"]) == (999, "carrier")
    assert answer["timestamp"].endswith("Z")
    assert "X-RateLimit-Remaining" in response.headers

    told = sink.wait(first, "call.transferred")
    assert told["forwardedCallId"] == second
    assert told["forwardNumber"] == number("07")
    wait_until(lambda: together(asterisk, first, second), "one bridge")
    assert bridge_of(asterisk, second) is None
    shown = {c["callId"]: c for c in legs.api().get("/calls").json()["calls"]}
    assert set(shown) == {first, second}
    assert shown[second]["forwardedFrom"] == first
    assert shown[first]["forwardedCallId"] == second
    assert shown[second]["callerId"] == "19172452367"
    assert "forwardedFrom" not in shown[first]

    wait_until(
        lambda: len(sink.events(second, "dtmf.received")) == 4, "four digits"
    )
    digits = [e["digit"] for e in sink.events(second, "dtmf.received")]
    assert digits == list("1234")
    assert sink.events(first, "dtmf.received") == []

    ids = {"first": first, "second": second}
    legs.hang_up(ids[hung_up])
    for name, call_id in ids.items():
        ended = legs.ended(call_id)
        assert ended["status"] == "completed"
        assert ended["endReason"] == (
            "api_hangup" if name == hung_up else "normal_hangup"
        )
        events = sink.events(call_id)
        check_events(events)
        assert all(e["metadata"] == {"campaign": 7} for e in events)
        assert log_row(database, call_id)[0] == "completed"
    assert [e["event"] for e in legs.of(first, TRANSFER)] == [
        "call.transferred"
    ]
    assert legs.of(second, TRANSFER) == []
    assert all(e["forwardedFrom"] == first for e in sink.events(second))
    assert all("forwardedFrom" not in e for e in sink.events(first))
    assert legs.of(second, {"recording.started"}) == []
    assert len(legs.of(first, {"recording.completed"})) == 1
    legs.settle(asterisk, 2)


@pytest.mark.parametrize("digits", [("10", "08"), ("08", "10")])
def test_either_far_end_ends_both(legs, asterisk, digits):
    """08 hangs up by itself, and takes the other with it."""
    first = legs.first(digits[0])
    second = legs.forward(first, digits[1])
    for call_id in (first, second):
        ended = legs.ended(call_id)
        assert (ended["status"], ended["endReason"]) == (
            "completed",
            "normal_hangup",
        )
    assert len(legs.of(first, {"call.transferred"})) == 1
    legs.settle(asterisk, 2)


def test_the_recording_has_both_voices(legs, kaphila, asterisk):
    """11 says nothing; what is recorded of it is what 02 says."""
    first = legs.first("11")
    second = legs.forward(first, "02")
    legs.sink.wait(second, "call.answered")
    recording = legs.sink.wait(first, "recording.started")
    spool = asterisk.media.recording_dir / recording["filename"]
    # 02 speaks at once, for 7 s; here 5 s of 16,000 bytes each are enough.
    wait_until(
        lambda: spool.exists() and spool.stat().st_size > 5 * 16000,
        "the first's recording to grow",
    )
    legs.hang_up(second)
    legs.ended(second)
    assert legs.ended(first)["recording"]["filename"] == recording["filename"]
    (file,) = kaphila.recordings_dir.rglob(recording["filename"])
    assert audio.loud_s(audio.loudness(file)) > 2
    legs.settle(asterisk, 2)


@pytest.mark.parametrize(
    "digits, status, cause, reason, body",
    [
        pytest.param("03", "busy", {"17"}, "busy", {}, id="busy"),
        # What a ring timeout is called differs between 16 and 22.
        pytest.param(
            "04",
            "no-answer",
            {"19", "0"},
            "no_answer",
            {"ringTimeout": 5},
            id="no-answer",
        ),
        pytest.param("09", "failed", {"1"}, "invalid_number", {}, id="invalid"),
    ],
)
def test_the_first_leg_outlives_a_second(
    legs, sink, asterisk, digits, status, cause, reason, body
):
    """call.transfer_failed once, and it can be forwarded again."""
    first = legs.first()
    second = legs.forward(first, digits, **body)
    told = sink.wait(first, "call.transfer_failed")
    assert told["forwardedCallId"] == second
    assert told["forwardNumber"] == number(digits)
    assert told["status"] == status and told["hangupCause"] in cause
    ended = legs.ended(second)
    assert (ended["status"], ended["endReason"]) == (status, reason)
    assert ended["forwardedFrom"] == first
    shown = legs.show(first)
    assert shown["status"] == "answered" and "forwardedCallId" not in shown
    assert bridge_of(asterisk, first) >= {first}

    again = legs.forward(first, "10")
    assert sink.wait(first, "call.transferred")["forwardedCallId"] == again
    wait_until(lambda: together(asterisk, first, again), "one bridge")
    legs.hang_up(first)
    assert legs.ended(first)["endReason"] == "api_hangup"
    assert legs.ended(again)["endReason"] == "normal_hangup"
    assert [e["event"] for e in legs.of(first, TRANSFER)] == [
        "call.transfer_failed",
        "call.transferred",
    ]
    legs.settle(asterisk, 2)


def test_the_first_hangs_up_while_the_second_rings(legs, sink, asterisk):
    """Nobody is there to be joined: the second is canceled."""
    first = legs.first()
    second = legs.forward(first, "04")
    sink.wait(second, "call.ringing")
    legs.hang_up(first)
    ended = legs.ended(second)
    assert (ended["status"], ended["endReason"]) == ("canceled", "canceled")
    assert legs.ended(first)["endReason"] == "api_hangup"
    assert legs.of(first, TRANSFER) == []
    legs.settle(asterisk, 1)


def test_the_second_is_hung_up_while_it_rings(legs, sink, asterisk):
    """/hangup of the second leg is no end of the first."""
    first = legs.first()
    second = legs.forward(first, "04")
    sink.wait(second, "call.ringing")
    legs.hang_up(second)
    ended = legs.ended(second)
    assert (ended["status"], ended["endReason"]) == ("canceled", "api_hangup")
    told = sink.wait(first, "call.transfer_failed")
    assert told["status"] == "canceled"
    assert legs.show(first)["status"] == "answered"
    legs.hang_up(first)
    legs.ended(first)
    legs.settle(asterisk, 1)


def test_timeout_is_another_word_for_ring_timeout(legs, sink, asterisk):
    """…and ringTimeout goes before it; both are clamped."""
    first = legs.first()
    for body, effective in (
        ({"timeout": 7}, 7),
        ({"timeout": 7, "ringTimeout": 9}, 9),
        ({"ringTimeout": 1}, 5),
        ({}, 30),
    ):
        second = legs.forward(first, "04", **body)
        told = sink.wait(second, "call.initiated")
        assert told["ringTimeoutSeconds"] == effective
        legs.hang_up(second)
        legs.ended(second)
        wait_until(
            lambda: "forwardedCallId" not in legs.show(first), "the first alone"
        )
    legs.hang_up(first)
    legs.ended(first)
    legs.settle(asterisk, 1)


def kill_workers(kaphila):
    """SIGKILL both at once, and wait for their successors."""
    names = ("worker.0", "worker.1")
    pids = [kaphila.signal(name) for name in names]
    for name, pid in zip(names, pids):
        kaphila.wait_new_pid(name, pid)
    kaphila.wait_ready()


def test_workers_are_killed_in_each_phase(legs, kaphila, sink, asterisk):
    """While the second rings, is answered, talks, and while both end."""
    ringing = legs.first()
    rings = legs.forward(ringing, "04")
    sink.wait(rings, "call.ringing")
    answering = legs.first()
    answers = legs.forward(answering, "01")
    talking, talks = legs.joined()
    kill_workers(kaphila)

    assert (
        sink.wait(answering, "call.transferred")["forwardedCallId"] == answers
    )
    wait_until(lambda: together(asterisk, answering, answers), "one bridge")
    assert together(asterisk, talking, talks)
    assert legs.show(rings)["status"] == "ringing"
    assert legs.show(rings)["forwardedFrom"] == ringing
    for call_id in (ringing, answers, talking):
        legs.hang_up(call_id)
    kill_workers(kaphila)

    expected = {
        ringing: ("completed", "api_hangup"),
        rings: ("canceled", "canceled"),
        answering: ("completed", "normal_hangup"),
        answers: ("completed", "api_hangup"),
        talking: ("completed", "api_hangup"),
        talks: ("completed", "normal_hangup"),
    }
    for call_id, (status, reason) in expected.items():
        ended = legs.ended(call_id)
        assert (ended["status"], ended["endReason"]) == (status, reason)
    for first in (answering, talking):
        assert len(legs.of(first, TRANSFER)) == 1
    assert legs.of(ringing, TRANSFER) == []
    legs.settle(asterisk, 5)


def test_workers_are_killed_all_the_time(legs, kaphila, sink, asterisk):
    """Forwards of every kind while one worker or the other is killed."""
    over = threading.Event()

    def forward_on(start):
        for i in itertools.count(start):
            if over.is_set():
                return
            try:
                client = legs.api()
                first = client.make_call(number("10"), webhookUrl=sink.url)
                sink.wait(first, "call.answered")
                legs.post(first, ("10", "03", "04", "08")[i % 4])
                over.wait(0.5)
                client.post("/hangup", json={"callId": first})
            except requests.RequestException:
                pass  # its worker is gone; the call may be there or not
            except AssertionError as error:
                if not re.search("TELEPHONY_(UNAVAILABLE|TIMEOUT)", str(error)):
                    raise

    with ThreadPoolExecutor(3) as pool:
        forwarding = [pool.submit(forward_on, i) for i in range(3)]
        try:
            for i in range(6):
                name = f"worker.{i % 2}"
                kaphila.wait_new_pid(name, kaphila.signal(name))
                wait_until(
                    lambda n=i: len(sink.events(kind="call.ended"))
                    > 4 * (n + 1),
                    "more calls",
                    60,
                )
        finally:
            over.set()
    for one in forwarding:
        one.result()
    kaphila.wait_ready()
    client = legs.api()
    for call in client.get("/calls").json()["calls"]:
        client.post("/hangup", json={"callId": call["callId"]})
    wait_idle(asterisk)
    invariants.wait_settled(kaphila)
    found = invariants.check(kaphila, invariants.sink_events(sink), set())
    assert not found, "\n".join(found)
    assert sink.events(kind="call.transferred")
    check_pairs(sink.events())


def check_pairs(events):
    """Each second leg was told of at most once, and truly."""
    ended = {e["callId"]: e for e in events if e["event"] == "call.ended"}
    told = [e for e in events if e["event"] in TRANSFER]
    seconds = [e["forwardedCallId"] for e in told]
    assert len(seconds) == len(set(seconds))
    for event in told:
        second = ended[event["forwardedCallId"]]
        assert second["forwardedFrom"] == event["callId"]
        if event["event"] == "call.transferred":
            assert second["wasAnswered"] is True
        else:
            assert event["status"] == second["status"]


# Places in the code (shared/crash_point.h) that a forward passes.
CRASHES = (
    "turn_applied",
    "turn_committed",
    "events_committed",
    "originate_before_send",
    "originate_said",
    "originate_replied",
    "command_before_send",
    "command_said",
    "command_replied",
)


def try_post(legs, path, body):
    """POST until a worker that lives answers; the response."""

    def answered():
        try:
            return [legs.api().post(path, json=body)]  # a 404 is false
        except requests.RequestException:
            return None

    return wait_until(answered, f"an answer to {path}", 60)[0]


@pytest.mark.parametrize("point", CRASHES)
def test_a_worker_crashes_on_the_way(
    asterisk, database, sink, make_kaphila, tmp_path, monkeypatch, point
):
    """At the first, second and third passing since a forward was asked for."""
    armed = tmp_path / "armed"
    armed.mkdir()
    monkeypatch.setenv("KAPHILA_CRASH_DIR", str(armed))
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_restarts()
    legs = Legs(kaphila, sink)
    for passing in (1, 2, 3):
        kaphila.wait_ready()
        first = legs.first()
        file = armed / f"worker.{point}"
        file.write_text(str(passing))
        try:
            legs.post(first, "10")
        except requests.RequestException:
            pass  # its worker is gone; the second leg is there or not
        wait_until(
            lambda f=file, one=first: not f.exists() or legs.of(one, TRANSFER),
            "a crash, or a transfer",
            60,
        )
        ended = try_post(legs, "/hangup", {"callId": first})
        assert ended.status_code in (200, 404), ended.text
        legs.ended(first)
        file.unlink(missing_ok=True)
    assert "crash" in kaphila.log_text()
    kaphila.wait_ready()
    wait_idle(asterisk)
    invariants.wait_settled(kaphila)
    found = invariants.check(
        kaphila, invariants.sink_events(sink), set(legs.calls)
    )
    assert not found, "\n".join(found)
    check_pairs(sink.events())


def test_two_forwards_at_once(legs, asterisk):
    """One of them is made, all others are a 409."""
    first = legs.first()
    with ThreadPoolExecutor(6) as pool:
        responses = list(pool.map(lambda _: legs.post(first, "04"), range(6)))
    codes = sorted(r.status_code for r in responses)
    assert codes == [200] + [409] * 5
    assert {r.json()["code"] for r in responses if r.status_code == 409} == {
        "CALL_ALREADY_FORWARDED"
    }
    (made,) = [r.json() for r in responses if r.status_code == 200]
    second = made["forwardedCallId"]
    legs.calls.append(second)
    assert legs.api().get("/calls").json()["totalCalls"] == 2
    legs.hang_up(first)
    legs.ended(first)
    legs.ended(second)
    legs.settle(asterisk, 1)


def test_a_retry_with_an_idempotency_key(legs, asterisk):
    """The same answer, and one second leg."""
    first = legs.first()
    body = {"callId": first, "forwardNumber": number("10")}
    headers = {"Idempotency-Key": "forward-1"}
    answers = [
        legs.api().post("/forwardcall", json=body, headers=headers)
        for _ in range(2)
    ]
    assert [a.status_code for a in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    second = answers[0].json()["forwardedCallId"]
    legs.calls.append(second)
    assert legs.api().get("/calls").json()["totalCalls"] == 2
    legs.hang_up(first)
    legs.ended(first)
    legs.ended(second)
    legs.settle(asterisk, 2)


BAD = [
    ({}, 400, "MISSING_PARAMETER", "callId"),
    ({"callId": None}, 400, "MISSING_PARAMETER", "callId"),
    ({"callId": ""}, 400, "MISSING_PARAMETER", "callId"),
    ({"callId": 12}, 400, "INVALID_PARAMETER", "callId"),
    ({"callId": ["x"]}, 400, "INVALID_PARAMETER", "callId"),
    ({"callId": "FIRST"}, 400, "MISSING_PARAMETER", "forwardNumber"),
    ({"callId": "nonsense"}, 400, "MISSING_PARAMETER", "forwardNumber"),
    *(
        ({"callId": "FIRST", "forwardNumber": junk}, 400, code, "")
        for junk, code in (
            ("", "MISSING_PARAMETER"),
            ("123", "INVALID_NUMBER"),
            ("1" * 16, "INVALID_NUMBER"),
            ("+1415555010a", "INVALID_NUMBER"),
            ("14155550107@evil", "INVALID_NUMBER"),
            ("++14155550107", "INVALID_NUMBER"),
            ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667", "INVALID_NUMBER"),
            (["14155550107"], "INVALID_PARAMETER"),
            ({"n": 1}, "INVALID_PARAMETER"),
            (True, "INVALID_PARAMETER"),
            (1.5, "INVALID_NUMBER"),
        )
    ),
    (
        {"callId": "FIRST", "forwardNumber": "14155550107", "ringTimeout": []},
        400,
        "INVALID_PARAMETER",
        "ringTimeout",
    ),
    (
        {"callId": "FIRST", "forwardNumber": "14155550107", "timeout": "x"},
        400,
        "INVALID_PARAMETER",
        "timeout",
    ),
    (
        {"callId": "FIRST", "forwardNumber": "14155550107", "callerId": "x"},
        400,
        "INVALID_NUMBER",
        "",
    ),
    *(
        (
            {"callId": call_id, "forwardNumber": "14155550107"},
            404,
            "CALL_NOT_FOUND",
            "",
        )
        for call_id in (
            "nonsense",
            "1720012345.88001",
            "../../etc/passwd",
            "x" * 5000,
            "FOREIGN",
        )
    ),
    (
        {"callId": "RINGING", "forwardNumber": "14155550107"},
        409,
        "CALL_NOT_ANSWERED",
        "",
    ),
    (
        {"callId": "SECOND", "forwardNumber": "14155550107"},
        409,
        "CALL_ALREADY_FORWARDED",
        "",
    ),
    (
        {"callId": "TAKEN", "forwardNumber": "14155550107"},
        409,
        "CALL_ALREADY_FORWARDED",
        "",
    ),
]


def test_bad_input(legs, kaphila, sink, asterisk):
    """Each its clear error, and nothing happens to any call."""
    ids = {"FIRST": legs.first(), "FOREIGN": Legs(kaphila, sink).first()}
    ids["TAKEN"], ids["SECOND"] = legs.joined()
    ids["RINGING"] = legs.api().make_call(number("04"), webhookUrl=sink.url)
    sink.wait(ids["RINGING"], "call.ringing")
    for body, status, code, word in BAD:
        sent = dict(body)
        if isinstance(sent.get("callId"), str):
            sent["callId"] = ids.get(sent["callId"], sent["callId"])
        response = legs.api().post("/forwardcall", json=sent)
        answer = response.json()
        assert (response.status_code, answer["code"]) == (status, code), body
        assert answer["success"] is False and word in answer["error"], body
    plain = kaphila.api().post("/forwardcall", json={})
    assert (plain.status_code, plain.json()["code"]) == (401, "UNAUTHORIZED")
    assert legs.api().get("/forwardcall").status_code == 405
    assert legs.api().get("/calls").json()["totalCalls"] == 4
    assert "forwardedCallId" not in legs.show(ids["FIRST"])
    for name in ("FIRST", "TAKEN", "RINGING"):
        legs.hang_up(ids[name])
        legs.ended(ids[name])
    ended = legs.api().post(
        "/forwardcall",
        json={"callId": ids["FIRST"], "forwardNumber": "14155550107"},
    )
    assert (ended.status_code, ended.json()["code"]) == (404, "CALL_NOT_FOUND")
    asterisk.media.clear()


def test_a_second_leg_costs_a_credit(kaphila, sink, asterisk):
    """The last credit went with the first leg: 402, and it lives on."""
    legs = Legs(kaphila, sink, credits=1)
    first = legs.first()
    refused = legs.post(first, "10")
    assert (refused.status_code, refused.json()["code"]) == (
        402,
        "INSUFFICIENT_CREDITS",
    )
    assert refused.json()["credits"] == refused.json()["available"] == 0
    shown = legs.show(first)
    assert shown["status"] == "answered" and "forwardedCallId" not in shown
    legs.hang_up(first)
    legs.ended(first)
    wait_idle(asterisk)
