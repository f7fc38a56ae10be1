"""Trunks: round robin, what Asterisk refuses at once, templates, and none."""

from harness.waiting import wait_until
from test_api import refused
from test_calls import check_events, log_row, number


def key_with(kaphila, *trunks, **options):
    """An API key with these trunks; and its id for kaphilactl."""
    key = kaphila.create_key(trunks=trunks, **options)
    return key, kaphila.ctl("keys", "list")[-1]["keyId"]


def place(client, sink, digits="03"):
    """The whole answer of a /makecall that must succeed."""
    response = client.post(
        "/makecall", json={"number": number(digits), "webhookUrl": sink.url}
    )
    assert response.status_code == 200, response.text
    return response.json()


def channels(asterisk):
    """The ids of the media Asterisk's channels."""
    ari = asterisk.media.ari()
    try:
        return [channel["id"] for channel in ari.get("channels")]
    finally:
        ari.close()


def test_round_robin(kaphila, sink, database):
    """In turn, whichever worker is asked; each key by itself."""
    key, _ = key_with(kaphila, "carrier", "carrier2")
    one = kaphila.client(name="one trunk")

    answers = []
    for _ in range(8):
        answers.append(place(kaphila.api(key), sink))
        assert place(one, sink)["trunk"] == "carrier"
    names = [answer["trunk"] for answer in answers]
    assert sorted(names[:2]) == ["carrier", "carrier2"]
    assert names == names[:2] * 4
    for answer in answers:
        assert (answer["trunkAttempts"], answer["totalTrunks"]) == (1, 2)
        event = sink.wait(answer["callId"], "call.initiated")
        assert event["trunk"] == answer["trunk"]
        assert (event["trunkAttempts"], event["totalTrunks"]) == (1, 2)
        assert sink.wait(answer["callId"], "call.ended")["status"] == "busy"
        assert log_row(database, answer["callId"])[5] == answer["trunk"]


def test_refused_at_once_goes_on_on_the_next_trunk(
    kaphila, sink, database, asterisk
):
    """An endpoint that Asterisk doesn't have: the second attempt is the call,
    with a channel id of its own, and one set of events."""
    key, _ = key_with(kaphila, "nowhere", "carrier")
    client = kaphila.api(key)

    seen = []
    for _ in range(2):
        answer = place(client, sink, "04")
        call_id = answer["callId"]
        attempts = answer["trunkAttempts"]
        seen.append(attempts)
        assert (answer["trunk"], answer["totalTrunks"]) == ("carrier", 2)
        event = sink.wait(call_id, "call.initiated")
        assert event["sequence"] == 1
        assert event["trunk"] == "carrier"
        assert (event["trunkAttempts"], event["totalTrunks"]) == (attempts, 2)
        sink.wait(call_id, "call.ringing")
        assert channels(asterisk) == [
            call_id if attempts == 1 else f"{call_id}-2"
        ]
        assert client.get(f"/calls/{call_id}").json()["status"] == "ringing"
        assert client.post("/hangup", json={"callId": call_id}).ok
        ended = sink.wait(call_id, "call.ended")
        assert ended["endReason"] == "api_hangup"
        assert sink.kinds(call_id) == [
            "call.initiated",
            "call.ringing",
            "call.ended",
        ]
        check_events(sink.events(call_id))
        assert log_row(database, call_id)[5] == "carrier"
        wait_until(lambda: not channels(asterisk), "no channel")
    assert sorted(seen) == [1, 2]


def test_a_second_attempt_that_is_answered(kaphila, sink, database):
    """It has all that an answered call has, recording and charge included."""
    key, _ = key_with(kaphila, "nowhere", "neither", "carrier", credits=5)
    answer = place(kaphila.api(key), sink, "08")
    assert answer["trunkAttempts"] == 3 and answer["totalTrunks"] == 3
    done = sink.wait(answer["callId"], "recording.completed")
    assert len(list(kaphila.recordings_dir.rglob(done["filename"]))) == 1
    check_events(sink.events(answer["callId"]))
    assert log_row(database, answer["callId"])[0] == "completed"
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(4,)],
        "one charge",
    )


def test_all_refused(kaphila, sink, database):
    """The reference's 500: no event, one failed row, nothing held."""
    key, key_id = key_with(kaphila, "nowhere", "neither", credits=1)
    client = kaphila.api(key)
    for _ in range(3):
        response = client.post(
            "/makecall",
            json={"number": number("08"), "webhookUrl": sink.url},
        )
        body = refused(
            response,
            500,
            "ORIGINATION_FAILED",
            "All trunk originate attempts failed",
        )
        assert set(body) == {
            "success",
            "error",
            "code",
            "attemptedTrunks",
            "totalTrunks",
        }
        assert sorted(body["attemptedTrunks"]) == ["neither", "nowhere"]
        assert body["totalTrunks"] == 2
    assert client.get("/calls").json()["calls"] == []
    rows = wait_until(
        lambda: (
            got := database.query(
                "SELECT status, was_answered, duration_s, number FROM call_logs"
            )
        )
        and len(got) == 3
        and got,
        "three rows",
    )
    assert rows == [("failed", False, 0, number("08"))] * 3

    # The credit is free for a call that goes out; events come for it alone.
    kaphila.add_trunk("carrier")
    kaphila.ctl("trunks", "assign", key_id, "carrier")
    answer = wait_until(
        lambda: (
            r := client.post(
                "/makecall",
                json={"number": number("03"), "webhookUrl": sink.url},
            )
        ).ok
        and r.json(),
        "a call by the new trunk",
    )
    assert answer["totalTrunks"] == 3
    sink.wait(answer["callId"], "call.ended")
    assert {event["callId"] for event in sink.events()} == {answer["callId"]}


def test_no_trunks(kaphila, sink):
    """Never assigned, disabled, unassigned, removed: 503 each time, and as
    soon as there is one it is used."""
    key, key_id = key_with(kaphila)
    client = kaphila.api(key)

    def ask():
        return client.post(
            "/makecall",
            json={"number": number("03"), "webhookUrl": sink.url},
        )

    def none():
        response = ask()
        if response.status_code == 200:
            return False
        body = refused(
            response, 503, "NO_TRUNKS_ASSIGNED", "No trunks assigned"
        )
        assert set(body) == {"success", "error", "code"}
        assert int(response.headers["Retry-After"]) > 0
        return True

    def some():
        return ask().status_code == 200

    assert none()
    kaphila.add_trunk("carrier")
    assert none()
    for there, gone in (
        (("assign", key_id, "carrier"), ("disable", "carrier")),
        (("enable", "carrier"), ("unassign", key_id, "carrier")),
        (("assign", key_id, "carrier"), ("remove", "carrier", "--force")),
    ):
        kaphila.ctl("trunks", *there)
        wait_until(some, f"a call after {there}")
        kaphila.ctl("trunks", *gone)
        wait_until(none, f"503 after {gone}")


def test_dial_templates(kaphila, sink):
    """What is dialled follows the template: the carrier's behaviour, and the
    endpoint of another name, show it."""
    for name, template in (
        ("busy", "PJSIP/00{number}03@carrier"),
        ("elsewhere", "PJSIP/{number}@carrier2"),
        ("twice", "PJSIP/{number}{number}09@carrier"),
    ):
        kaphila.add_trunk(name, "--template", template)
    for name, status, reason in (
        ("busy", "busy", "busy"),
        ("elsewhere", "failed", "rejected"),
        ("twice", "failed", "invalid_number"),
    ):
        client = kaphila.client(name=name, trunks=(name,))
        answer = place(client, sink, "06")
        assert answer["trunk"] == name
        ended = sink.wait(answer["callId"], "call.ended")
        assert (ended["status"], ended["endReason"]) == (status, reason)


def test_a_trunk_that_never_answers(kaphila, sink, database):
    """Nothing listens there: the call ends by the ring timeout, and once."""
    client = kaphila.client(trunks=("dead",))
    call_id = client.make_call(number("08"), webhookUrl=sink.url, ringTimeout=5)
    ended = sink.wait(call_id, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("no-answer", "no_answer")
    assert ended["wasAnswered"] is False and ended["callDuration"] == 0
    check_events(sink.events(call_id))
    assert log_row(database, call_id)[:2] == ("no-answer", "no_answer")
