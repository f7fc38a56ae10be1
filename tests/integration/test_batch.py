"""POST /batchcall: one call as /makecall, and lists of them."""

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

from harness.waiting import wait_until
from test_api import refused
from test_bad_input import Wire, reset_when_closed
from test_bad_input import answers as replies
from test_calls import number
from test_idempotency import PATIENT, accepted, freed, rows

KEY = "Idempotency-Key"
WINDOW = 100  # calls of a list that wait for Asterisk at a time


def bodies(count, sink, digits="10", **fields):
    """That many calls of one behaviour."""
    return [
        {"number": number(digits), "webhookUrl": sink.url, **fields}
        for _ in range(count)
    ]


def results(response):
    """The results of a list that was taken."""
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["success"] is True
    return answer["results"]


@contextlib.contextmanager
def frozen(simulator):
    """Its calls get no answer meanwhile."""
    os.kill(simulator.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(simulator.pid, signal.SIGCONT)


def wait_window(kaphila):
    """Until a list can't go on without answers."""
    wait_until(lambda: accepted(kaphila) == WINDOW, "the window to be full")


def hang_up_all(client, sink, answers):
    """End the calls that were made, and wait until they are over."""
    call_ids = [a["callId"] for a in answers if a["statusCode"] == 200]
    for call_id in call_ids:
        client.hangup(call_id)
    for call_id in call_ids:
        sink.wait(call_id, "call.ended", timeout_s=60)


def test_single(kaphila, sink):
    """A body without `calls` is answered as by /makecall, replays too."""
    client = kaphila.client()
    body = bodies(1, sink, "04", ringTimeout=20)[0]
    one = client.post("/makecall", json=body).json()
    two = client.post("/batchcall", json=body, headers={KEY: "b-1"})
    assert two.status_code == 200
    assert set(one) == set(two.json())
    assert two.json()["ringTimeoutSeconds"] == 20
    again = client.post("/batchcall", json=body, headers={KEY: "b-1"})
    assert again.json() == two.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    refused(client.post("/batchcall", json={}), 400, "MISSING_PARAMETER")
    refused(client.post("/batchcall", data="{"), 400, "INVALID_JSON")
    refused(kaphila.api().post("/batchcall"), 401, "UNAUTHORIZED")
    hang_up_all(
        client, sink, [{**a, "statusCode": 200} for a in (one, two.json())]
    )


def test_list(kaphila, sink):
    """Each call is answered in its place, right or wrong."""
    client = kaphila.client()
    good = bodies(1, sink, "04")[0]
    calls = [
        good,
        {"number": "12"},
        {},
        "nonsense",
        {**good, "webhookUrl": "ftp://x"},
        {**good, "ringTimeout": 7},
    ]
    answers = results(client.batch(calls))
    assert [(a["statusCode"], a.get("code")) for a in answers] == [
        (200, None),
        (400, "INVALID_NUMBER"),
        (400, "MISSING_PARAMETER"),
        (400, "INVALID_PARAMETER"),
        (400, "INVALID_WEBHOOK_URL"),
        (200, None),
    ]
    assert answers[5]["ringTimeoutSeconds"] == 7
    assert [a["success"] for a in answers] == [True] + [False] * 4 + [True]
    hang_up_all(client, sink, answers)


def test_bad_lists(kaphila):
    """What is no list of 1 to 1,000 calls is refused whole."""
    client = kaphila.client(rate_limit=100)
    for calls in ([], {}, "x", 5, [{}] * 1001):
        error = refused(client.batch(calls), 400, "INVALID_PARAMETER")["error"]
        assert "calls" in error
    refused(
        client.post("/batchcall", json={"calls": [{}]}, headers={KEY: "a\tb"}),
        400,
        "INVALID_PARAMETER",
    )
    response = client.post("/batchcall", data=b" " * (4 * 1024 * 1024 + 1))
    refused(response, 413, "BODY_TOO_LARGE")
    # each of them was one request
    assert response.headers["X-RateLimit-Remaining"] == "93"


def test_large_body(kaphila):
    """A list may have what a single body may not: up to 4 MiB."""
    client = kaphila.client()
    calls = [{"number": "1", "metadata": {"x": "y" * 2500}}] * 1000
    body = json.dumps({"calls": calls})
    assert 2 * 1024 * 1024 < len(body) < 4 * 1024 * 1024
    answers = results(client.post("/batchcall", data=body))
    assert len(answers) == 1000
    assert {a["statusCode"] for a in answers} == {400}


def test_many(simulator, database, make_kaphila, sink):
    """Hundreds of calls in one request: each is made once, and charged once,
    whatever page it was on. On the simulator, for so many calls at a time need
    more RTP ports than the tests' Asterisk has."""
    kaphila = make_kaphila(simulator, database)
    client = kaphila.client(credits=1000)
    response = client.post(
        "/batchcall", json={"calls": bodies(330, sink, "10")}, timeout=120
    )
    answers = results(response)
    assert {a["statusCode"] for a in answers} == {200}
    call_ids = [a["callId"] for a in answers]
    assert len(set(call_ids)) == 330
    sink.wait_count("call.answered", 330, 120)
    hang_up_all(client, sink, answers)
    wait_until(
        lambda: database.query("SELECT count(*) FROM call_logs")[0][0] == 330,
        "330 rows in call_logs",
        60,
    )
    assert client.get("/api/me").json()["apiKey"]["credits"] == 670


def test_client_leaves(simulator, database, make_kaphila, sink):
    """Whose client is gone goes on with what was accepted, and begins no
    more; no call is left behind."""
    kaphila = make_kaphila(simulator, database, PATIENT)
    key = kaphila.create_key(credits=2000)
    wire = Wire(kaphila, key)
    with frozen(simulator), wire.connect() as client:
        client.sendall(
            wire.request("/batchcall", {"calls": bodies(1000, sink, "10")})
        )
        wait_window(kaphila)
        reset_when_closed(client)
    kaphila.wait_log("path=/batchcall status=200")
    # whatever was begun is under way to its end by itself
    sink.wait_count("call.answered", WINDOW)
    api = kaphila.api(key)

    def all_over():
        live = api.get("/calls").json()["calls"]
        for call in live:
            api.post("/hangup", json={"callId": call["callId"]})
        return not live

    wait_until(all_over, "every call to be over", 60)
    wait_until(
        lambda: rows(database) == WINDOW, "a row for each call", 60
    )
    assert accepted(kaphila) == WINDOW
    assert len(sink.wait_count("call.ended", WINDOW)) == WINDOW


def test_given_up_untold(simulator, database, make_kaphila, sink):
    """The key of a call that was given up, of which nobody was told, for the
    client left before the list was through, isn't free: the next try is told
    of that call first."""
    kaphila = make_kaphila(
        simulator, database, {**PATIENT, "calls.originate_timeout_ms": 3000}
    )
    client = kaphila.client(credits=1000)
    calls = [
        {**body, "idempotencyKey": f"k-{i}", "metadata": {"place": i}}
        for i, body in enumerate(bodies(WINDOW + 50, sink, "10"))
    ]
    wire = Wire(kaphila, client.key)
    with frozen(simulator):
        with wire.connect() as leaving:
            leaving.sendall(wire.request("/batchcall", {"calls": calls}))
            # the first are given up, and the last are under way
            wait_until(lambda: accepted(kaphila) == len(calls), "all of them")
        kaphila.wait_log("path=/batchcall status=200")
    ended = sink.wait_count("call.ended", len(calls))
    call_id = next(e["callId"] for e in ended if e["metadata"]["place"] == 0)
    body = {**calls[0]}
    header = {KEY: body.pop("idempotencyKey")}
    told = client.post("/makecall", json=body, headers=header)
    assert refused(told, 503, "TELEPHONY_TIMEOUT")["callId"] == call_id
    again = freed(lambda: client.post("/makecall", json=body, headers=header))
    assert again.json()["callId"] != call_id
    hang_up_all(client, sink, [{**again.json(), "statusCode": 200}])


def test_worker_restarts(simulator, database, make_kaphila, sink):
    """A worker that leaves, with a successor, before its list is through
    gives up the rest in time: the client has its answer."""
    kaphila = make_kaphila(
        simulator,
        database,
        {
            "calls.originate_timeout_ms": 2000,
            "supervision.drain_timeout_s": 8,
        },
    )
    kaphila.allow_restarts()
    client = kaphila.client(credits=2000)
    # nothing is heard of any call: each window takes two seconds
    simulator.fault("drop_request", at="originate", count=2000)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.batch, bodies(1000, sink, "10"))
        worker = kaphila.wait_log(r"worker\.(\d)\[\d+\] call accepted")[1]
        kaphila.ctl("restart", "worker", worker)
        codes = [a["code"] for a in results(answer.result())]
    begun = codes.count("TELEPHONY_TIMEOUT")
    assert WINDOW <= begun < 1000
    assert codes[begun:] == ["DRAINING"] * (1000 - begun)
    sink.wait_count("call.ended", begun)


def test_half_closed_client(kaphila, sink):
    """A client that shuts its sending side and reads on has its calls made,
    and is told of them."""
    client = kaphila.client()
    wire = Wire(kaphila, client.key)
    calls = bodies(3, sink, "04")
    got = wire.talk(wire.request("/batchcall", {"calls": calls}))
    ((status, _, answer),) = replies(got)
    assert status == 200
    answers = json.loads(answer)["results"]
    assert [a["statusCode"] for a in answers] == [200] * 3
    hang_up_all(client, sink, answers)


def test_limits(kaphila, asterisk, sink):
    """The rate limit counts each call, and so do the credits."""
    client = kaphila.client(rate_limit=10, credits=1000)
    response = client.batch(bodies(14, sink, "04"))
    answers = results(response)
    assert [a["statusCode"] for a in answers] == [200] * 10 + [429] * 4
    assert answers[13]["code"] == "RATE_LIMIT_EXCEEDED"
    assert response.headers["X-RateLimit-Remaining"] == "0"

    assert 3000 < answers[13]["retryAfter"] <= 3600
    assert "retryAfter" not in answers[9]

    poor = kaphila.client(credits=3)
    others = results(poor.batch(bodies(5, sink, "04")))
    assert [a["statusCode"] for a in others] == [200] * 3 + [402] * 2
    assert others[4]["available"] == 0
    hang_up_all(poor, sink, others)
    # the first key may ask for nothing more in this hour
    asterisk.media.cli("channel request hangup all")
    sink.wait_count("call.ended", 13)


def test_idempotency_of_the_whole(kaphila, sink):
    """A key of the whole list stands for each of its calls, by its place: a
    retry makes none anew, and a place with another body is refused alone.
    What has a key of its own is left to that."""
    client = kaphila.client()

    def post(calls, key):
        return results(
            client.post("/batchcall", json={"calls": calls}, headers={KEY: key})
        )

    calls = [*bodies(3, sink, "04"), {"number": "12"}]
    calls[1]["idempotencyKey"] = "mine"
    first = post(calls, "l-1")
    assert [a["statusCode"] for a in first] == [200] * 3 + [400]
    again = post(calls, "l-1")
    assert [a.get("callId") for a in again] == [a.get("callId") for a in first]
    assert [a.get("idempotentReplayed") for a in again] == [True] * 3 + [None]

    # the third place changes, the fourth is put right
    calls[2] = {**calls[2], "ringTimeout": 9}
    calls[3] = bodies(1, sink, "04")[0]
    odd = post(calls, "l-1")
    assert [a.get("code") for a in odd] == [
        None,
        None,
        "IDEMPOTENCY_KEY_REUSED",
        None,
    ]
    assert [a["callId"] for a in odd[:2]] == [a["callId"] for a in first[:2]]
    assert "idempotentReplayed" not in odd[3]

    # under another key all are new, but what has its own
    other = post(calls[:2], "l-2")
    assert other[0]["callId"] != first[0]["callId"]
    assert other[1]["callId"] == first[1]["callId"]
    # a single call's key is another one, whatever it looks like
    plain = client.post("/makecall", json=calls[0], headers={KEY: "l-1"})
    assert plain.json()["callId"] not in {a.get("callId") for a in odd + other}
    hang_up_all(
        client,
        sink,
        [*first, odd[3], other[0], {**plain.json(), "statusCode": 200}],
    )


def test_idempotency(kaphila, sink):
    """Each call of a list may have a key of its own: a retry of the list
    makes none anew, and /makecall knows the same keys."""
    client = kaphila.client()
    plain = bodies(1, sink, "04")[0]
    calls = [{**plain, "idempotencyKey": f"k-{i}"} for i in range(3)]
    first = results(client.batch(calls))
    assert {a["statusCode"] for a in first} == {200}
    again = results(client.batch([*calls, plain]))
    assert [a["callId"] for a in again[:3]] == [a["callId"] for a in first]
    assert [a.get("idempotentReplayed") for a in again] == [True] * 3 + [None]

    single = client.post("/makecall", json=plain, headers={KEY: "k-1"})
    assert single.json()["callId"] == first[1]["callId"]

    odd = results(
        client.batch(
            [
                {**plain, "idempotencyKey": "k-2", "ringTimeout": 9},
                {**plain, "idempotencyKey": "k-9"},
                {**plain, "idempotencyKey": "k-9"},
                {**plain, "idempotencyKey": ""},
                {**plain, "idempotencyKey": 5},
            ]
        )
    )
    assert [a.get("code") for a in odd] == [
        "IDEMPOTENCY_KEY_REUSED",
        None,
        "IDEMPOTENCY_IN_PROGRESS",
        "INVALID_PARAMETER",
        "INVALID_PARAMETER",
    ]
    hang_up_all(client, sink, first + [again[3], odd[1]])
