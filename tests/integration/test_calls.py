"""The main job: a call from /makecall to the last webhook, for each of the
carrier's behaviours, on a real Asterisk and a real PostgreSQL."""

import re
import subprocess
import wave
from pathlib import Path

import pytest
from harness.waiting import wait_until

# digits → (status, endReason, hangupCause, events before call.ended)
RINGS = ["call.initiated", "call.ringing"]
TALKS = [*RINGS, "call.answered", "recording.started"]

BEHAVIOURS = {
    "03": ("busy", "busy", "17", {"call.initiated"}),
    "05": ("failed", "congestion", "34", {"call.initiated"}),
    "06": ("failed", "rejected", "21", {"call.initiated"}),
    "08": ("completed", "normal_hangup", "16", set(TALKS)),
    "09": ("failed", "invalid_number", "1", {"call.initiated"}),
}
SIP_CODES = {"03": 486, "05": 503, "06": 603, "09": 404}  # since Asterisk 22


def number(digits):
    """A number with that behaviour."""
    return f"1415555{digits:0>4}"


def place(kaphila, sink, digits, **body):
    """A client with a key, and a call that it made."""
    client = kaphila.client()
    return client, client.make_call(number(digits), webhookUrl=sink.url, **body)


def log_row(database, call_id):
    """The call's row, once it is there; exactly one."""
    rows = wait_until(
        lambda: database.query(
            "SELECT status, end_reason, hangup_cause::text, duration_s, was_answered,"
            " trunk, number FROM call_logs WHERE call_id = %s",
            (call_id,),
        ),
        f"the call_logs row of {call_id}",
    )
    assert len(rows) == 1
    return rows[0]


def check_events(events):
    """What holds for the events of every call."""
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["eventId"] for event in events}) == len(events)
    for event in events:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
        assert event["to"] == event["number"]
        assert event["from"] == event["callerId"]
    assert [e["event"] for e in events].count("call.ended") == 1
    assert events[0]["event"] == "call.initiated"
    answered = [e["event"] for e in events].index("call.answered") \
        if "call.answered" in [e["event"] for e in events] else len(events)
    for event in events[answered:]:
        assert event["answeredAt"] == events[answered]["answeredAt"]
    asked = events[0].get("useAmd", False)
    for event in events:
        if not asked or "answeredAt" in event:
            assert (event["amd"]["status"] != "NOAMD") == asked


@pytest.mark.parametrize("digits", sorted(BEHAVIOURS))
def test_behaviour(kaphila, asterisk, database, sink, digits):
    """Each way of the carrier's to end a call: events, row, credits."""
    status, reason, cause, before = BEHAVIOURS[digits]
    client, call_id = place(kaphila, sink, digits)
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"], ended["hangupCause"]) == (
        status, reason, cause)
    if asterisk.media.version >= 22:
        assert ended.get("sipCode") == SIP_CODES.get(digits)
    answered = status == "completed"
    assert ended["wasAnswered"] is answered
    assert ended["callDuration"] == ended["duration"]
    assert (ended["callDuration"] > 0) is answered
    row = log_row(database, call_id)
    assert row[:3] == (status, reason, cause)
    assert row[3:5] == (ended["callDuration"], answered)
    assert row[5:] == ("carrier", number(digits))
    if answered:
        sink.wait(call_id, "recording.completed")
    events = sink.events(call_id)
    check_events(events)
    kinds = [event["event"] for event in events]
    assert before <= set(kinds[: kinds.index("call.ended")])
    # The recorder may be quicker than the news of the end, or slower.
    assert set(kinds[kinds.index("call.ended") + 1:]) <= {"recording.completed"}
    assert kinds.count("recording.completed") == answered
    wait_until(
        lambda: client.get("/api/me").json()["apiKey"]["credits"] == 1000 - answered,
        "the credit",
    )
    assert client.get(f"/calls/{call_id}").status_code == 404
    assert client.get("/calls").json()["totalCalls"] == 0


def test_answered_call_is_shown_recorded_and_hung_up(kaphila, sink, database):
    """01: the whole life of a conversation that the API ends."""
    client = kaphila.client()
    response = client.post("/makecall", json={
        "number": "+1 (415) 555-0001", "webhookUrl": sink.url,
        "callerId": "19172452367", "metadata": {"campaign": 7}, "ringTimeout": 20})
    answer = response.json()
    assert response.status_code == 200
    assert answer["success"] is True and answer["status"] == "ringing"
    assert answer["trunk"] == "carrier"
    assert (answer["trunkAttempts"], answer["totalTrunks"]) == (1, 1)
    assert answer["ringTimeoutSeconds"] == 20
    assert answer["credits"] == 1000
    assert answer["amdEnabled"] is False
    assert answer["voiceName"] == "en-US-Neural2-A"
    assert response.headers["X-RateLimit-Remaining"] == "99999"
    call_id = answer["callId"]
    assert re.fullmatch(r"\d{10}\.\d+", call_id)
    started = sink.wait(call_id, "recording.started")
    assert started["recordingId"].startswith(f"call-{call_id}-")
    assert started["filename"] == started["recordingId"] + ".wav"
    shown = wait_until(
        lambda: (c := client.get(f"/calls/{call_id}").json())["hasBridge"] and c,
        "the bridge")
    assert shown["success"] is True and shown["status"] == "answered"
    assert shown["number"] == "14155550001" and shown["hasSnoop"] is False
    assert shown["recording"]["active"] is True
    assert shown["recording"]["filename"] == started["filename"]
    listed = client.get("/calls").json()
    assert (listed["totalCalls"], listed["activeCalls"]) == (1, 1)
    assert listed["calls"][0]["callId"] == call_id
    assert listed["calls"][0]["gather"] is None
    hangup = client.post("/hangup", json={"callId": call_id})
    assert hangup.status_code == 200
    assert hangup.json() == {
        "success": True, "message": f"Call {call_id} terminated", "callId": call_id}
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("completed", "api_hangup")
    done = sink.wait(call_id, "recording.completed")
    assert done["filename"] == started["filename"]
    files = list(kaphila.recordings_dir.rglob(done["filename"]))
    assert len(files) == 1 and files[0].stat().st_size == done["size"]
    with wave.open(str(files[0])) as wav:
        assert (wav.getnchannels(), wav.getframerate(), wav.getsampwidth()) == (1, 8000, 2)
        assert abs(wav.getnframes() / 8000 - done["duration"]) <= 1
    check_events(sink.events(call_id))
    assert all(e["metadata"] == {"campaign": 7} for e in sink.events(call_id))
    assert all(e["from"] == "19172452367" for e in sink.events(call_id))
    wait_until(
        lambda: client.get("/api/me").json()["apiKey"]["credits"] == 999, "the charge")
    balance = wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(999,)],
        "the balance in PostgreSQL")
    assert balance
    assert database.query(
        "SELECT count(*) FROM credit_ledger WHERE kind = 'charge'") == [(1,)]


def test_ringing_call_is_cancelled(kaphila, sink, database):
    """04 rings for ever: /hangup cancels it, and nothing is charged."""
    client, call_id = place(kaphila, sink, "04")
    sink.wait(call_id, "call.ringing")
    assert client.get(f"/calls/{call_id}").json()["status"] == "ringing"
    assert client.post("/hangup", json={"callId": call_id}).status_code == 200
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("canceled", "api_hangup")
    assert ended["callDuration"] == 0
    assert log_row(database, call_id)[0] == "canceled"
    assert client.post("/hangup", json={"callId": call_id}).status_code == 404
    assert client.get("/api/me").json()["apiKey"]["credits"] == 1000


def test_ring_timeout(kaphila, sink, database):
    """04 with the least ringTimeout ends by itself, as no-answer."""
    _, call_id = place(kaphila, sink, "04", ringTimeout=1)
    assert sink.wait(call_id, "call.initiated")["ringTimeoutSeconds"] == 5
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("no-answer", "no_answer")
    assert log_row(database, call_id)[0] == "no-answer"


def test_max_duration(kaphila, sink):
    """10 would stay 60 s; maxDuration ends it."""
    _, call_id = place(kaphila, sink, "10", maxDuration=2)
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("completed", "max_duration")


@pytest.mark.parametrize("digits", ["02", "07", "10", "11"])
def test_answering_behaviours(kaphila, sink, digits):
    """The other carriers that answer: answered, recorded, hung up by us."""
    client, call_id = place(kaphila, sink, digits)
    sink.wait(call_id, "recording.started")
    client.post("/hangup", json={"callId": call_id})
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("completed", "api_hangup")
    sink.wait(call_id, "recording.completed")
    check_events(sink.events(call_id))


def test_no_recording_when_not_wanted(kaphila, sink, asterisk):
    """record:false: answered, and no recording events and no file."""
    client, call_id = place(kaphila, sink, "08", record=False)
    sink.wait(call_id, "call.ended")
    assert not [k for k in sink.kinds(call_id) if k.startswith("recording")]
    assert client.get("/calls").json()["calls"] == []


def test_use_amd_of_a_call_that_ends_first(kaphila, sink):
    """Hung up before there is a verdict: call.answered says UNKNOWN."""
    client = kaphila.client()
    answer = client.post("/makecall", json={
        "number": number("08"), "webhookUrl": sink.url, "useAmd": True}).json()
    assert answer["amdEnabled"] is True
    event = sink.wait(answer["callId"], "call.answered")
    assert event["amd"].pop("decidedAt") is not None
    assert event["amd"] == {
        "status": "UNKNOWN", "cause": "", "detail": "", "confidence": 0}
    sink.wait(answer["callId"], "call.ended")


def test_nothing_is_left(kaphila, sink, asterisk):
    """After some calls: no channel, no bridge, no spool file, no record."""
    client = kaphila.client()
    calls = [client.make_call(number(d), webhookUrl=sink.url) for d in ("08", "03", "08")]
    for call_id in calls:
        sink.wait(call_id, "call.ended")
    sink.wait_count("recording.completed", 2)
    wait_until(
        lambda: requests_empty(asterisk), "no channels and no bridges in Asterisk")


def requests_empty(asterisk):
    """True if the media Asterisk has no channel and no bridge."""
    client = asterisk.media.ari()
    try:
        return (client.request("GET", "channels").json() == []
                and client.request("GET", "bridges").json() == [])
    finally:
        client.close()


def test_far_end_hangs_up_without_a_reason(kaphila, sink, asterisk, ports, tmp_path):
    """A BYE without a Reason header, as most carriers send it, is a normal end."""
    client = kaphila.client(trunks=("sipp",))
    sipp = subprocess.Popen(
        ["sipp", "-sf", Path(__file__).parent / "sipp" / "bye.xml", "-i", "127.0.0.1",
         "-p", str(asterisk.sipp_port), "-nostdin", "-mp", str(ports.take_rtp())],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        call_id = client.make_call(number("01"), webhookUrl=sink.url)
        ended = sink.wait(call_id, "call.ended")
    finally:
        sipp.kill()
        sipp.wait()
    assert (ended["status"], ended["endReason"], ended["hangupCause"]) == (
        "completed", "normal_hangup", "16")


def test_counters_of_the_key_hold_at_every_look(asterisk, database, make_kaphila, sink):
    """successfulCalls and credits are right while the charge is posted and
    the call's row is not there yet, with the key read anew meanwhile."""
    kaphila = make_kaphila(asterisk.media, database, {"auth.cache_fresh_s": 1})
    client = kaphila.client()
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "call.answered")
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(999,)],
        "the charge in PostgreSQL")
    read_at = database.query("SELECT last_used FROM api_keys")[0][0]

    def read_anew():
        me = client.get("/api/me").json()["apiKey"]
        assert (me["totalCalls"], me["successfulCalls"], me["credits"]) == (1, 1, 999)
        return database.query("SELECT last_used FROM api_keys")[0][0] != read_at

    wait_until(read_anew, "the key to be read anew")
    client.post("/hangup", json={"callId": call_id})
    sink.wait(call_id, "call.ended")
    log_row(database, call_id)
    read_anew()
