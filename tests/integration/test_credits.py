"""Credits: held by every call that is not answered yet, taken once when it is
answered, and never more of them than there are."""

from concurrent.futures import ThreadPoolExecutor

from harness.waiting import wait_until
from test_api import refused
from test_calls import check_events, number

PARALLEL = 50


def credits_of(client):
    """What /api/me shows: the balance less what was charged."""
    return client.get("/api/me").json()["apiKey"]["credits"]


def wait_posted(database, credits, charges):
    """Until PostgreSQL has that balance and that many charges, each of one
    credit and of another call, and the ledger's sum is the balance."""
    wait_until(
        lambda: database.query(
            "SELECT (SELECT credits FROM api_keys),"
            " count(*) FILTER (WHERE kind = 'charge'),"
            " coalesce(sum(amount), 0) FROM credit_ledger"
        )
        == [(credits, charges, credits)],
        lambda: f"{charges} charges and a balance of {credits}; the ledger is "
        f"{database.query('SELECT kind, amount, call_id FROM credit_ledger')}"
        f" and the keys {database.query('SELECT credits FROM api_keys')}",
    )
    assert database.query(
        "SELECT count(*), count(DISTINCT call_id), min(amount), max(amount)"
        " FROM credit_ledger WHERE kind = 'charge'"
    ) == [(charges, charges) + ((-1, -1) if charges else (None, None))]


def no_credit(response, credits, available):
    """Assert the 402 with its two figures."""
    body = refused(
        response, 402, "INSUFFICIENT_CREDITS", "Insufficient credits"
    )
    assert set(body) == {"success", "error", "code", "credits", "available"}
    assert (body["credits"], body["available"]) == (credits, available)


def test_a_ringing_call_holds_a_credit(kaphila, sink, database):
    """Balance 1: a second call has to wait for the first one's end."""
    client = kaphila.client(credits=1)
    body = {"number": number("04"), "webhookUrl": sink.url}

    first = client.post("/makecall", json=body).json()
    assert first["credits"] == 1  # holds are not counted
    no_credit(client.post("/makecall", json=body), 1, 0)
    assert credits_of(client) == 1
    client.post("/hangup", json={"callId": first["callId"]})
    sink.wait(first["callId"], "call.ended")

    # Busy gives it back as well, and the answer takes it.
    busy = client.make_call(number("03"), webhookUrl=sink.url)
    assert sink.wait(busy, "call.ended")["status"] == "busy"
    answered = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(answered, "call.answered")
    no_credit(client.post("/makecall", json=body), 0, 0)
    assert credits_of(client) == 0
    sink.wait(answered, "recording.started")
    client.post("/hangup", json={"callId": answered})
    sink.wait(answered, "recording.completed")
    no_credit(client.post("/makecall", json=body), 0, 0)

    wait_posted(database, 0, 1)
    no_credit(client.post("/makecall", json=body), 0, 0)
    for call_id in (first["callId"], busy, answered):
        check_events(sink.events(call_id))


def test_no_credits_at_all(kaphila):
    """No call, no hold, and the request is counted all the same."""
    client = kaphila.client(credits=0)
    response = client.post("/makecall", json={"number": number("08")})
    no_credit(response, 0, 0)
    assert response.headers["X-RateLimit-Remaining"] == "99999"
    assert client.get("/calls").json()["calls"] == []
    assert client.get("/api/me").json()["apiKey"]["totalCalls"] == 0


def test_credits_that_are_granted_count_at_once(kaphila, sink, database):
    """kaphilactl keys credits: every worker hears of it; less works too."""
    made = kaphila.ctl("keys", "create", "poor")
    kaphila.add_trunk("carrier")
    kaphila.ctl("trunks", "assign", made["keyId"], "carrier")
    client = kaphila.api(made["key"])
    body = {"number": number("08"), "webhookUrl": sink.url}
    no_credit(client.post("/makecall", json=body), 0, 0)

    assert kaphila.ctl("keys", "credits", made["keyId"], "+2")["credits"] == 2
    wait_until(lambda: credits_of(client) == 2, "the new credits")
    call_id = client.make_call(**body)
    sink.wait(call_id, "recording.completed")
    wait_posted(database, 1, 1)
    kaphila.ctl("keys", "credits", made["keyId"], "-1")
    wait_until(
        lambda: kaphila.api(made["key"])
        .post("/makecall", json=body)
        .status_code
        == 402,
        "402",
    )
    wait_posted(database, 0, 1)


def in_parallel(kaphila, key, url, digits):
    """PARALLEL calls at once, each on a connection of its own; the answers in
    the order of the calls. digits  function of the call's number."""

    def place(i):
        return kaphila.api(key).post(
            "/makecall",
            json={"number": number(digits(i)), "webhookUrl": url},
            timeout=60,
        )

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(place, range(PARALLEL)))


def test_parallel_calls_never_overspend(kaphila, sink, database):
    """50 at once with a balance of 10: first such as only hold, then such as
    are answered, busy and cancelled, all mixed, until nothing is left."""
    key = kaphila.create_key(credits=10)
    client = kaphila.api(key)

    answers = in_parallel(kaphila, key, sink.url, lambda _: "04")
    placed = [r.json()["callId"] for r in answers if r.status_code == 200]
    assert len(placed) == 10
    for response in answers:
        if response.status_code != 200:
            no_credit(response, 10, 0)
    assert client.get("/calls").json()["totalCalls"] == 10
    for call_id in placed:
        assert client.post("/hangup", json={"callId": call_id}).ok
    for call_id in placed:
        sink.wait(call_id, "call.ended")
    assert credits_of(client) == 10
    wait_posted(database, 10, 0)

    answers = in_parallel(
        kaphila, key, sink.url, lambda i: ("08", "03", "10")[i % 3]
    )
    mixed = [r.json()["callId"] for r in answers if r.status_code == 200]
    assert len(mixed) >= 10
    for response in answers:
        if response.status_code != 200:
            body = refused(response, 402, "INSUFFICIENT_CREDITS")
            assert 0 <= body["credits"] <= 10 and body["available"] == 0
    # 10 stays, 08 goes by itself: hang up what is left once it is answered.
    for call_id in mixed:
        wait_until(
            lambda one=call_id: {"call.answered", "call.ended"}
            & set(sink.kinds(one)),
            f"{call_id} to be answered or ended",
        )
        client.post("/hangup", json={"callId": call_id})
    for call_id in mixed:
        sink.wait(call_id, "call.ended")
        check_events(sink.events(call_id))
    answered = len(
        {event["callId"] for event in sink.events(kind="call.answered")}
    )
    assert 0 < answered <= 10
    assert credits_of(client) == 10 - answered
    wait_posted(database, 10 - answered, answered)
    wait_until(
        lambda: database.query(
            "SELECT count(*), count(*) FILTER (WHERE was_answered)"
            " FROM call_logs"
        )
        == [(len(placed) + len(mixed), answered)],
        "the calls' rows",
    )
