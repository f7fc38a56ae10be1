"""Idempotency-Key: a retry finds what became of the first request, whatever
was killed in between, and never makes a second call."""

import http.client
import itertools
import json
import os
import random
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness.waiting import wait_until
from test_api import refused
from test_calls import log_row, number, requests_empty
from test_outages import processed, wait_missing

PATIENT = {  # a frozen Asterisk is no reason to give a call up
    "calls.originate_timeout_ms": 30000,
    "asterisk.command_timeout_ms": 30000,
    "asterisk.ping_interval_ms": 30000,
}


def new_key():
    """An Idempotency-Key that nobody has used."""
    return str(uuid.uuid4())


def post(client, key, body):
    """One try."""
    return client.post("/makecall", json=body, headers={"Idempotency-Key": key})


def made(response):
    """Assert the answer of a call that was made now; its body."""
    assert response.status_code == 200, response.text
    assert "Idempotent-Replayed" not in response.headers
    return response.json()


def replayed(response, first):
    """Assert that it is the first answer again: status and body."""
    assert response.headers.get("Idempotent-Replayed") == "true", response.text
    assert response.status_code == first.status_code
    assert response.text == first.text
    assert response.headers["X-Request-Id"] != first.headers["X-Request-Id"]


def conflict(response):
    """Assert the answer while the first request is under way."""
    body = response.json()
    assert response.status_code == 409, response.text
    assert body["code"] == "IDEMPOTENCY_IN_PROGRESS"
    assert set(body) == {"success", "error", "code"}
    assert body["success"] is False
    assert response.headers["Retry-After"] == "1"
    assert "Idempotent-Replayed" not in response.headers


def settled(kaphila, api_key, key, body):
    """Retry on new connections, as a client would, until it is known what
    became of the request; the response."""
    last = []

    def known():
        try:
            response = post(kaphila.api(api_key), key, body)
        except requests.RequestException as error:
            last[:] = [str(error)]
            return None
        last[:] = [response.text]
        if response.status_code == 409:
            conflict(response)
        else:
            assert response.status_code in (200, 503), response.text
        return response if response.status_code == 200 else None

    return wait_until(known, lambda: f"the answer of {key}: {last}", 60, 0.05)


def rows(database):
    """How many calls there were, by their log."""
    return database.query("SELECT count(*) FROM call_logs")[0][0]


def accepted(kaphila):
    """How many calls were created, by the log."""
    return kaphila.log_text().count(" call accepted ")


def test_retry(kaphila, sink, database):
    """The same body and status, no second call, no second credit; while the
    call lives, when it is over, and after restarts of the whole node. What is
    the same body is what it says. The rate limit counts each try."""
    api_key = kaphila.create_key(credits=1)
    client = kaphila.api(api_key)
    body = {
        "number": number("08"),
        "webhookUrl": sink.url,
        "metadata": {"campaign": 7, "list": ["a", "b"]},
        "ringTimeout": 45,
    }
    key = new_key()
    first = post(client, key, body)
    call_id = made(first)["callId"]
    replayed(post(kaphila.api(api_key), key, body), first)
    replayed(post(client, key, dict(reversed(body.items()))), first)
    again = client.post(
        "/makecall",
        data=json.dumps(body, indent=4),
        headers={"Idempotency-Key": key, "Content-Type": "application/json"},
    )
    replayed(again, first)
    left = [
        int(response.headers["X-RateLimit-Remaining"])
        for response in (first, again)
    ]
    assert left[0] - left[1] == 3

    sink.wait(call_id, "recording.completed")
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(0,)],
        "the charge",
    )
    # Whoever has no credits left may still ask what became of it.
    replayed(post(client, key, body), first)
    refused(post(client, new_key(), body), 402, "INSUFFICIENT_CREDITS")
    refused(client.post("/makecall", json=body), 402, "INSUFFICIENT_CREDITS")
    kaphila.restart()
    replayed(post(kaphila.api(api_key), key, body), first)
    kaphila.kill()
    kaphila.start()
    replayed(post(kaphila.api(api_key), key, body), first)

    log_row(database, call_id)
    assert rows(database) == 1
    assert {event["callId"] for event in sink.events()} == {call_id}
    assert len(sink.events(call_id, "call.initiated")) == 1


def test_another_body(kaphila, sink):
    """422 whatever it differs in; the key stays with the first."""
    client = kaphila.client()
    body = {"number": number("04"), "webhookUrl": sink.url, "useAmd": False}
    key = new_key()
    first = post(client, key, body)
    call_id = made(first)["callId"]
    for change in (
        {"number": number("08")},
        {"useAmd": True},
        {"ringTimeout": 30},
        {"unknown": 1},
        {"metadata": {}},
    ):
        response = post(client, key, {**body, **change})
        answer = refused(response, 422, "IDEMPOTENCY_KEY_REUSED")
        assert set(answer) == {"success", "error", "code"}
        assert "X-RateLimit-Limit" in response.headers
    replayed(post(client, key, body), first)
    assert client.get("/calls").json()["totalCalls"] == 1
    client.post("/hangup", json={"callId": call_id})
    sink.wait(call_id, "call.ended")
    assert accepted(kaphila) == 1


def test_refused_by_all_trunks(kaphila, database):
    """ORIGINATION_FAILED is an answer like another: kept, and the same again,
    also with a trunk that would take the call."""
    api_key = kaphila.create_key(
        name="refused", credits=1, trunks=("nowhere", "neither")
    )
    client = kaphila.api(api_key)
    body = {"number": number("08")}
    key = new_key()
    first = post(client, key, body)
    answer = refused(first, 500, "ORIGINATION_FAILED")
    assert set(answer["attemptedTrunks"]) == {"nowhere", "neither"}
    assert "Idempotent-Replayed" not in first.headers
    replayed(post(client, key, body), first)
    refused(
        post(client, key, {"number": number("03")}),
        422,
        "IDEMPOTENCY_KEY_REUSED",
    )
    kaphila.restart()
    replayed(post(kaphila.api(api_key), key, body), first)
    wait_until(lambda: rows(database) == 1, "the failed row")
    # Nothing is held: the one credit is there for the next.
    refused(
        post(kaphila.api(api_key), new_key(), body), 500, "ORIGINATION_FAILED"
    )


@pytest.mark.parametrize(
    "name, value",
    [
        ("empty", ""),
        ("blank", "   "),
        ("too long", "k" * 256),
        ("a tab", "a\tb"),
        ("latin-1", "cl\u00e9".encode("latin-1")),
        ("utf-8", "\u30ad\u30fc".encode()),
    ],
)
def test_bad_header(kaphila, name, value):
    """400, and no call."""
    client = kaphila.client()
    body = json.dumps({"number": number("08")}).encode()
    connection = http.client.HTTPConnection(kaphila.base_url[7:], timeout=20)
    connection.putrequest("POST", "/makecall")
    connection.putheader("Authorization", f"Bearer {client.key}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Idempotency-Key", value)
    connection.endheaders(body)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 400, name
    assert answer["success"] is False and answer["code"].startswith("INVALID_")
    if answer["code"] == "INVALID_PARAMETER":
        assert "Idempotency-Key" in answer["error"]
    assert accepted(kaphila) == 0


def test_header_twice_and_longest(kaphila, sink):
    """Two lines of it are a 400, even if they are equal; 255 characters of
    any printable kind are a key."""
    client = kaphila.client()
    body = json.dumps({"number": number("03"), "webhookUrl": sink.url})
    connection = http.client.HTTPConnection(kaphila.base_url[7:], timeout=20)
    connection.putrequest("POST", "/makecall")
    connection.putheader("Authorization", f"Bearer {client.key}")
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Idempotency-Key", "same")
    connection.putheader("idempotency-key", "same")
    connection.endheaders(body.encode())
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert (response.status, answer["code"]) == (400, "INVALID_PARAMETER")
    assert "Idempotency-Key" in answer["error"]
    assert accepted(kaphila) == 0

    longest = "".join(chr(33 + i % 94) for i in range(255))
    first = post(client, longest, json.loads(body))
    call_id = made(first)["callId"]
    replayed(post(client, longest, json.loads(body)), first)
    replayed(post(client, f" {longest} ".strip(), json.loads(body)), first)
    other = post(client, longest[:-1], json.loads(body))
    assert made(other)["callId"] != call_id
    for one in (call_id, other.json()["callId"]):
        sink.wait(one, "call.ended")


def test_what_frees_a_key(kaphila, sink):
    """Any answer but a 200 and ORIGINATION_FAILED stores nothing: the same
    key does for a body that is right, and when there are means."""
    good = {"number": number("03"), "webhookUrl": sink.url}
    poor = kaphila.client(name="poor", credits=0)
    key = new_key()
    for _ in range(2):
        refused(post(poor, key, good), 402, "INSUFFICIENT_CREDITS")
    refused(
        post(poor, key, {**good, "number": number("08")}),
        402,
        "INSUFFICIENT_CREDITS",
    )
    refused(post(poor, key, {"number": "12"}), 400, "INVALID_NUMBER")
    trunkless = kaphila.client(name="trunkless", trunks=())
    for _ in range(2):
        refused(post(trunkless, key, good), 503, "NO_TRUNKS_ASSIGNED")

    client = kaphila.client(name="rich")
    refused(post(client, key, {"number": "12"}), 400, "INVALID_NUMBER")
    refused(post(client, key, {}), 400, "MISSING_PARAMETER")
    first = post(client, key, good)
    sink.wait(made(first)["callId"], "call.ended")
    # A bad body is a 400 before the key is looked at, and leaves it alone.
    refused(post(client, key, {"number": "12"}), 400, "INVALID_NUMBER")
    replayed(post(client, key, good), first)


def test_keys_are_apart(kaphila, sink):
    """The same text with two API keys is two keys."""
    one = kaphila.client(name="one")
    other = kaphila.client(name="other")
    body = {"number": number("03"), "webhookUrl": sink.url}
    firsts = [post(client, "order-1", body) for client in (one, other)]
    ids = [made(first)["callId"] for first in firsts]
    assert len(set(ids)) == 2
    for client, first in zip((one, other), firsts):
        replayed(post(client, "order-1", body), first)
    refused(
        post(other, "order-1", {**body, "ringTimeout": 9}),
        422,
        "IDEMPOTENCY_KEY_REUSED",
    )
    for call_id in ids:
        sink.wait(call_id, "call.ended")


def test_many_at_once(kaphila, sink, database):
    """20 posts with one key at one moment, over both workers: one call."""
    api_key = kaphila.create_key()
    body = {"number": number("03"), "webhookUrl": sink.url}
    calls = set()
    for turn in range(5):
        key = new_key()
        gate = threading.Barrier(20)

        def one(key=key, gate=gate):
            client = kaphila.api(api_key)
            client.get("/api/me")  # connected
            gate.wait()
            return post(client, key, body)

        with ThreadPoolExecutor(20) as pool:
            answers = [
                task.result() for task in [pool.submit(one) for _ in range(20)]
            ]
        good = [answer for answer in answers if answer.status_code == 200]
        fresh = [a for a in good if "Idempotent-Replayed" not in a.headers]
        assert len(fresh) == 1, [answer.text for answer in answers]
        for answer in answers:
            if answer.status_code != 200:
                conflict(answer)
            elif answer is not fresh[0]:
                replayed(answer, fresh[0])
        calls.add(fresh[0].json()["callId"])
        assert accepted(kaphila) == turn + 1
    for call_id in calls:
        sink.wait(call_id, "call.ended")
    wait_until(lambda: rows(database) == 5, "five rows")
    assert {event["callId"] for event in sink.events()} == calls


def test_an_old_answer_goes(asterisk, database, make_kaphila, sink):
    """Kept for idempotency.keep_s; then the table empties by itself, and the
    key is as new, for any body."""
    kaphila = make_kaphila(asterisk.media, database, {"idempotency.keep_s": 1})
    client = kaphila.client()
    body = {"number": number("03"), "webhookUrl": sink.url}
    key = new_key()
    first = made(post(client, key, body))["callId"]
    kaphila.wait_log("idempotency keys pruned count=1")
    second = made(post(client, key, {**body, "ringTimeout": 9}))["callId"]
    assert second != first
    for call_id in (first, second):
        sink.wait(call_id, "call.ended")


# --- requests under way ---


def under_way(kaphila, api_key, key, body):
    """A request whose call was created and has no reply, in a thread of its
    own; the thread's future."""
    before = accepted(kaphila)
    pool = ThreadPoolExecutor(1)
    try:
        future = pool.submit(post, kaphila.api(api_key), key, body)
    finally:
        pool.shutdown(wait=False)
    wait_until(lambda: accepted(kaphila) > before or future.done(), "the call")
    assert not future.done(), future.result().text
    return future


def test_under_way(own_asterisk, database, make_kaphila, sink):
    """409 with Retry-After while nobody knows, at every worker; another body
    is a 422 already; other keys' answers are there all the time."""
    kaphila = make_kaphila(own_asterisk.media, database, PATIENT)
    api_key = kaphila.create_key(credits=2)
    body = {"number": number("03"), "webhookUrl": sink.url}
    earlier = new_key()
    known = post(kaphila.api(api_key), earlier, body)
    sink.wait(made(known)["callId"], "call.ended")

    own_asterisk.media.freeze()
    key = new_key()
    waiting = under_way(kaphila, api_key, key, body)
    for _ in range(8):
        conflict(post(kaphila.api(api_key), key, body))
    refused(
        post(kaphila.api(api_key), key, {**body, "record": False}),
        422,
        "IDEMPOTENCY_KEY_REUSED",
    )
    replayed(post(kaphila.api(api_key), earlier, body), known)
    assert not waiting.done()
    own_asterisk.media.thaw()
    first = waiting.result(30)
    call_id = made(first)["callId"]
    for _ in range(4):
        replayed(post(kaphila.api(api_key), key, body), first)
    sink.wait(call_id, "call.ended")
    assert accepted(kaphila) == 2

    # Without a link too, for it needs none.
    own_asterisk.media.kill()
    wait_missing(kaphila, "asterisk")
    replayed(post(kaphila.api(api_key), key, body), first)
    refused(
        post(kaphila.api(api_key), new_key(), body),
        503,
        "TELEPHONY_UNAVAILABLE",
    )


def test_given_up(own_asterisk, database, make_kaphila, sink):
    """503 TELEPHONY_TIMEOUT frees the key in a while: the next try then is a
    new call, and the one that was given up doesn't come back in its place."""
    kaphila = make_kaphila(
        own_asterisk.media,
        database,
        {**PATIENT, "calls.originate_timeout_ms": 1000},
    )
    client = kaphila.client(credits=2)
    body = {"number": number("04"), "webhookUrl": sink.url}
    key = new_key()
    own_asterisk.media.freeze()
    given_up = [
        refused(answer, 503, "TELEPHONY_TIMEOUT")["callId"]
        for answer in (
            post(client, key, body),
            freed(lambda: post(client, key, body)),
        )
    ]
    own_asterisk.media.thaw()
    for call_id in given_up:
        assert sink.wait(call_id, "call.ended", 60)["wasAnswered"] is False
    first = freed(lambda: post(client, key, body))
    call_id = made(first)["callId"]
    assert len({call_id, *given_up}) == 3
    replayed(post(client, key, body), first)
    client.post("/hangup", json={"callId": call_id})
    sink.wait(call_id, "call.ended")
    replayed(post(client, key, body), first)


def freed(ask):
    """Try until the answer isn't the one of a call that was given up: the key
    is free some seconds after the first of these."""

    def fresh():
        answer = ask()
        if "Idempotent-Replayed" in answer.headers:
            refused(answer, 503, "TELEPHONY_TIMEOUT")
            return None
        return [answer]

    return wait_until(fresh, "the key to be free", 60)[0]


def test_given_up_and_killed(own_asterisk, database, make_kaphila, sink):
    """All workers end when one has told TELEPHONY_TIMEOUT: the key is free all
    the same, in a while, for that it was told is in the store. (That it is not
    free before it was told is test_makecall_key.c's.)"""
    kaphila = make_kaphila(
        own_asterisk.media,
        database,
        {**PATIENT, "calls.originate_timeout_ms": 1000},
    )
    kaphila.allow_restarts()
    api_key = kaphila.create_key(credits=2)
    body = {"number": number("04"), "webhookUrl": sink.url}
    key = new_key()
    pids = [kaphila.pid(f"worker.{n}") for n in range(2)]
    own_asterisk.media.freeze()
    first = post(kaphila.api(api_key), key, body)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    own_asterisk.media.thaw()
    given_up = refused(first, 503, "TELEPHONY_TIMEOUT")["callId"]
    second = freed(lambda: told(kaphila, api_key, key, body))
    call_id = made(second)["callId"]
    assert call_id != given_up
    kaphila.api(api_key).post("/hangup", json={"callId": call_id})
    for ended in (given_up, call_id):
        sink.wait(ended, "call.ended", 60)


def test_given_up_untold(own_asterisk, database, make_kaphila, sink):
    """The worker that would have told TELEPHONY_TIMEOUT is dead by then: the
    retry is told, with the call's id, and only the next makes a call."""
    kaphila = make_kaphila(
        own_asterisk.media,
        database,
        {**PATIENT, "calls.originate_timeout_ms": 1500},
    )
    kaphila.allow_restarts()
    api_key = kaphila.create_key(credits=2)
    body = {"number": number("04"), "webhookUrl": sink.url}
    key = new_key()
    own_asterisk.media.freeze()
    waiting = under_way(kaphila, api_key, key, body)
    accepted_line = kaphila.wait_log(
        r"worker\.(\d)\[\d+\] call accepted call=(\S+)"
    )
    kaphila.signal(f"worker.{accepted_line[1]}")
    with pytest.raises(requests.RequestException):
        waiting.result(30)
    answer = told(kaphila, api_key, key, body)
    assert answer.headers["Idempotent-Replayed"] == "true"
    timed_out = refused(answer, 503, "TELEPHONY_TIMEOUT")
    assert timed_out["callId"] == accepted_line[2]
    own_asterisk.media.thaw()
    assert sink.wait(timed_out["callId"], "call.ended", 60)

    def called():
        for second in tried(kaphila, api_key, key, body):
            if second.status_code == 200:
                return second.json()["callId"]
        return None

    call_id = wait_until(called, "a new call", 60)
    assert call_id != timed_out["callId"]
    kaphila.api(api_key).post("/hangup", json={"callId": call_id})
    sink.wait(call_id, "call.ended")


def told(kaphila, api_key, key, body):
    """Try until an answer tells what became of the call, neither that it is
    under way, nor that a worker has just begun."""

    def answer():
        return [
            answer
            for answer in tried(kaphila, api_key, key, body)
            if answer.status_code not in (409, 503)
            or answer.json()["code"] == "TELEPHONY_TIMEOUT"
        ]

    return wait_until(answer, "an answer", 60)[0]


def tried(kaphila, api_key, key, body):
    """One try on a new connection; [response], or [] if nobody answers."""
    try:
        return [post(kaphila.api(api_key), key, body)]
    except requests.RequestException:
        return []


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_worker_killed_while_under_way(
    own_asterisk, database, make_kaphila, sink, both
):
    """The request fails; its retry is told that it is under way, then what
    became of it. The phone rings once."""
    kaphila = make_kaphila(own_asterisk.media, database, PATIENT)
    kaphila.allow_restarts()
    api_key = kaphila.create_key(credits=1)
    body = {"number": number("08"), "webhookUrl": sink.url}
    key = new_key()
    rung_before = processed(own_asterisk.carrier)
    workers = {slot: kaphila.pid(f"worker.{slot}") for slot in "01"}
    own_asterisk.media.freeze()
    waiting = under_way(kaphila, api_key, key, body)
    owner = kaphila.wait_log(r"worker\.(\d)\[\d+\] call accepted")[1]
    for slot, pid in workers.items():
        if both or slot == owner:
            os.kill(pid, signal.SIGKILL)
    with pytest.raises(requests.RequestException):
        waiting.result(30)
    # Any worker knows of it.
    conflict(
        wait_until(lambda: tried(kaphila, api_key, key, body), "an answer", 60)[
            0
        ]
    )
    own_asterisk.media.thaw()

    answer = settled(kaphila, api_key, key, body)
    assert answer.headers["Idempotent-Replayed"] == "true"
    call_id = answer.json()["callId"]
    sink.wait(call_id, "recording.completed")
    replayed(post(kaphila.api(api_key), key, body), answer)
    assert log_row(database, call_id)[0] == "completed"
    assert accepted(kaphila) == 1
    assert processed(own_asterisk.carrier) - rung_before == 1
    assert {event["callId"] for event in sink.events()} == {call_id}
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(0,)],
        "one charge",
    )
    wait_until(
        lambda: requests_empty(own_asterisk), "no channel and no bridge", 30
    )


def test_node_killed_while_under_way(
    own_asterisk, database, make_kaphila, sink
):
    """All of it dies, the event sockets too. Whether the phone rang in the
    meantime, nobody may be able to tell; so the retry gets the call's id and
    makes no second one, and call.ended says what is known of it."""
    kaphila = make_kaphila(own_asterisk.media, database, PATIENT)
    api_key = kaphila.create_key(credits=1)
    body = {"number": number("04"), "webhookUrl": sink.url}
    key = new_key()
    rung_before = processed(own_asterisk.carrier)
    pids = [kaphila.pid(name) for name in ("master", "worker.0", "worker.1")]
    own_asterisk.media.freeze()
    waiting = under_way(kaphila, api_key, key, body)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(requests.RequestException):
        waiting.result(30)
    kaphila.kill()
    own_asterisk.media.thaw()
    kaphila.start()

    answer = settled(kaphila, api_key, key, body)
    assert answer.headers["Idempotent-Replayed"] == "true"
    call_id = answer.json()["callId"]
    client = kaphila.api(api_key)
    # It rings, or it is lost already.
    hangup = client.post("/hangup", json={"callId": call_id})
    assert hangup.status_code in (200, 404), hangup.text
    sink.wait(call_id, "call.ended", 60)
    replayed(post(client, key, body), answer)
    log_row(database, call_id)
    assert accepted(kaphila) == 1 and rows(database) == 1
    assert processed(own_asterisk.carrier) - rung_before <= 1
    assert {event["callId"] for event in sink.events()} == {call_id}
    wait_until(
        lambda: requests_empty(own_asterisk), "no channel and no bridge", 30
    )
    # Its credit is no longer held.
    last = made(post(client, new_key(), {**body, "number": number("03")}))
    sink.wait(last["callId"], "call.ended")


def test_killed_at_any_moment(asterisk, database, make_kaphila, sink):
    """A worker dies somewhere in each of 20 requests or more: before, in, or
    after what it writes. Each key has one call in the end, and each credit is
    accounted for."""
    kaphila = make_kaphila(asterisk.media, database, PATIENT)
    kaphila.allow_restarts()
    api_key = kaphila.create_key(credits=100)
    rung_before = processed(asterisk.carrier)
    chance = random.Random(int(os.environ.get("KAPHILA_TEST_SEED", "7")))
    pids = {name: kaphila.pid(name) for name in ("worker.0", "worker.1")}
    calls = {}
    broken = 0

    def one(key, body, gate):
        """A try on a connection that is there; [] if it breaks."""
        client = kaphila.api(api_key)
        client.get("/api/me")
        gate.wait()
        try:
            return [post(client, key, body)]
        except requests.RequestException:
            return []

    for i, name in zip(range(80), itertools.cycle(pids)):
        key, gate = new_key(), threading.Barrier(5)
        body = {
            "number": number(f"{i:02}08" if i % 4 else f"{i:02}03"),
            "webhookUrl": sink.url,
        }
        with ThreadPoolExecutor(4) as pool:
            # Four, so that one of them is the worker's that is killed.
            tries = [pool.submit(one, key, body, gate) for _ in range(4)]
            gate.wait()
            threading.Event().wait(chance.uniform(0, 0.012))
            os.kill(pids[name], signal.SIGKILL)
            answers = [task.result() for task in tries]
        broken += answers.count([])
        ids = {
            answer.json()["callId"]
            for answer in itertools.chain(*answers)
            if answer.status_code == 200
        }
        ids.add(settled(kaphila, api_key, key, body).json()["callId"])
        assert len(ids) == 1, ids
        calls[body["number"]] = ids.pop()
        pids[name] = kaphila.wait_new_pid(name, pids[name])
        if len(calls) >= 20 and broken >= 10:
            break
    assert broken >= 10, "too few requests were under way at a death"

    for call_id in calls.values():
        sink.wait(call_id, "call.ended", 60)
    wait_until(
        lambda: sorted(database.query("SELECT number, call_id FROM call_logs"))
        == sorted(calls.items()),
        lambda: f"{calls}: "
        f"{database.query('SELECT number, call_id FROM call_logs')}",
        30,
    )
    assert {event["callId"] for event in sink.events()} == set(calls.values())
    assert processed(asterisk.carrier) - rung_before == len(calls)
    answered = sum(digits.endswith("08") for digits in calls)
    wait_until(
        lambda: database.query(
            "SELECT credits, (SELECT count(*) FROM credit_ledger"
            " WHERE kind = 'charge') FROM api_keys"
        )
        == [(100 - answered, answered)],
        f"{answered} charges",
    )
    client = kaphila.api(api_key)
    me = client.get("/api/me").json()["apiKey"]
    assert me["credits"] == 100 - answered
    assert client.get("/calls").json()["calls"] == []
