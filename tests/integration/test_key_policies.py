"""What a key may do: caller ids, destinations, its own webhook URL, and how
many calls at a time; each set by kaphilactl on a node that runs."""

import itertools
import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import paths
from harness.sink import WebhookSink
from harness.waiting import wait_until
from test_api import refused
from test_calls import number

OWN = "19172452367"
OTHER = "19172452368"
DEFAULT = "19172452369"
NOT_FROM = "CALLER_ID_NOT_ALLOWED"
NOT_TO = "DESTINATION_NOT_ALLOWED"
TOO_MANY = "TOO_MANY_CALLS"


class Key:
    """A key of a node, its limits, and the calls that it makes."""

    _names = itertools.count(1)
    _rates = itertools.count(200000)

    def __init__(self, kaphila, sink, *limits, **options):
        self.kaphila = kaphila
        self.sink = sink
        self.name = f"limited {next(self._names)}"
        self.text = kaphila.create_key(name=self.name, **options)
        if limits:
            self.set(*limits)

    def set(self, *limits, rate_limit=None):
        """`keys set`, and wait until it counts: until the rate limit, which
        each time is one that it never was, is seen in what the workers know."""
        rate_limit = rate_limit or next(self._rates)
        self.kaphila.ctl(
            "keys", "set", self.name, "--rate-limit", rate_limit, *limits
        )

        def counts():
            me = self.api().get("/api/me").json()["apiKey"]
            return me["rateLimit"] == rate_limit

        wait_until(counts, f"{limits} to count")

    def take_trunk(self):
        """The key has no trunk any more."""
        self.kaphila.ctl("trunks", "unassign", self.name, "carrier")
        self.set()

    def api(self):
        """On a connection of its own, so of any worker."""
        return self.kaphila.api(self.text)

    def call(self, digits="03", idempotency=None, **body):
        """POST /makecall; the response."""
        headers = {"Idempotency-Key": idempotency} if idempotency else {}
        return self.api().post(
            "/makecall", json=self.body(digits, **body), headers=headers
        )

    def body(self, digits="03", **body):
        """What a call is asked for with."""
        return {"number": number(digits), "webhookUrl": self.sink.url, **body}

    def made(self, *args, **body):
        """A call that is made; its id."""
        response = self.call(*args, **body)
        assert response.status_code == 200, response.text
        return response.json()["callId"]

    def answered(self, digits="10"):
        """A call that lives until it is hung up, in its bridge; its id."""
        call_id = self.made(digits)
        self.sink.wait(call_id, "call.answered")
        wait_until(
            lambda: self.api().get(f"/calls/{call_id}").json().get("hasBridge"),
            "its bridge",
        )
        return call_id

    def forward(self, call_id, digits="10", **body):
        """POST /forwardcall; the response."""
        return self.api().post(
            "/forwardcall",
            json={"callId": call_id, "forwardNumber": number(digits), **body},
        )

    def hang_up(self, *call_ids):
        """End these calls, and wait until they are over."""
        for call_id in call_ids:
            assert self.api().hangup(call_id).status_code == 200
        for call_id in call_ids:
            self.sink.wait(call_id, "call.ended")

    def live(self):
        """How many calls it has now."""
        return self.api().get("/calls").json()["totalCalls"]


@pytest.fixture
def make_key(kaphila, sink):
    """make_key(*limits): any number of keys of one node."""
    return lambda *limits, **options: Key(kaphila, sink, *limits, **options)


# --- caller ids ---


def test_caller_ids(make_key, sink):
    """One of the list or the default is shown; another is refused, in
    whatever form it is sent; a key without a list shows any."""
    key = make_key(
        "--caller-ids", f"+{OWN},14155550199", "--default-caller-id", DEFAULT
    )
    for sent, shown in (
        ({"callerId": OWN}, OWN),
        ({"callerId": "+1 (917) 245-2367"}, OWN),
        ({"callerId": int(OWN)}, OWN),
        ({"callerId": DEFAULT}, DEFAULT),
        ({"callerId": ""}, DEFAULT),
        ({}, DEFAULT),
    ):
        call_id = key.made(**sent)
        assert sink.wait(call_id, "call.ended")["callerId"] == shown, sent
    for sent in (OTHER, "917" + OWN, OWN[:-1], "0" + OWN):
        refused(
            key.call(callerId=sent),
            403,
            NOT_FROM,
            "This key may not use this callerId",
        )
    # what is no number is told first
    refused(key.call(callerId="x"), 400, "INVALID_NUMBER")

    key.set("--default-caller-id", "none")
    call_id = key.made()
    assert sink.wait(call_id, "call.ended")["callerId"] == ""
    refused(key.call(callerId=DEFAULT), 403, NOT_FROM)

    free = make_key()
    assert sink.wait(free.made(callerId=OTHER), "call.ended")
    assert len(key.sink.events(kind="call.initiated")) == 8


# --- destinations ---


def test_destinations(make_key, sink):
    """The longest prefix decides, the deny list at a tie."""
    key = make_key("--allow", "14155550003,1415555,49", "--deny", "1415555000")
    assert sink.wait(key.made("03"), "call.ended")["status"] == "busy"
    for digits in ("04", "08"):
        refused(
            key.call(digits), 403, NOT_TO, "This key may not call this number"
        )
    refused(key.call(number="+44 20 7946 0018"), 403, NOT_TO)
    assert sink.wait(key.made("1103"), "call.ended")["status"] == "busy"
    key.set("--deny", "14155550003")
    refused(key.call("03"), 403, NOT_TO)
    key.set("--allow", "none", "--deny", "49")
    assert sink.wait(key.made("03"), "call.ended")
    refused(key.call(number="+4930123456"), 403, NOT_TO)
    # the caller id is told before the destination
    key.set("--caller-ids", OWN)
    refused(key.call(number="+4930123456", callerId=OTHER), 403, NOT_FROM)


def test_a_batch_is_judged_call_by_call(make_key, sink):
    """Each in its place, whatever the others are told."""
    key = make_key("--deny", "14155550004", "--caller-ids", OWN)
    calls = [
        key.body("03"),
        key.body("04"),
        key.body("03", callerId=OTHER),
        key.body("03", callerId=OWN),
        {"number": "12"},
    ]
    response = key.api().batch(calls)
    assert response.status_code == 200, response.text
    answers = response.json()["results"]
    assert [(a["statusCode"], a.get("code")) for a in answers] == [
        (200, None),
        (403, NOT_TO),
        (403, NOT_FROM),
        (200, None),
        (400, "INVALID_NUMBER"),
    ]
    for place in (0, 3):
        sink.wait(answers[place]["callId"], "call.ended")
    refused(key.api().post("/batchcall", json=calls[1]), 403, NOT_TO)


def test_a_new_keys_default(kaphila, sink):
    """[keys] of the configuration is for keys that are made from then on."""
    before = Key(kaphila, sink)
    kaphila.write_config(
        keys__default_allow="1415555, 49", keys__default_deny="14155550004"
    )
    assert kaphila.ctl("reload")["ok"] is True
    after = Key(kaphila, sink)
    shown = kaphila.ctl("keys", "show", after.name)
    assert (shown["allow"], shown["deny"]) == (
        ["1415555", "49"],
        ["14155550004"],
    )
    refused(after.call("04"), 403, NOT_TO)
    refused(after.call(number="442079460018"), 403, NOT_TO)
    sink.wait(after.made("03"), "call.ended")
    before.hang_up(before.made("04"))


# --- second legs ---


def test_second_legs(make_key, sink):
    """Judged like any call; the first leg goes on whatever is refused."""
    key = make_key("--deny", "14155550004", "--default-caller-id", OWN)
    first = key.answered()
    refused(key.forward(first, "04"), 403, NOT_TO)
    key.set("--caller-ids", DEFAULT)
    refused(key.forward(first, callerId=OTHER), 403, NOT_FROM)
    # a call that isn't there is told first
    refused(key.forward("1.1", "04"), 404, "CALL_NOT_FOUND")
    # what it has from the first leg may have been taken from the key
    key.set("--default-caller-id", DEFAULT)
    refused(key.forward(first), 403, NOT_FROM)
    key.set("--caller-ids", OWN)
    response = key.forward(first)
    assert response.status_code == 200, response.text
    second = response.json()["forwardedCallId"]
    sink.wait(first, "call.transferred")
    assert key.api().get(f"/calls/{second}").json()["callerId"] == OWN
    assert key.live() == 2
    key.hang_up(first)
    sink.wait(second, "call.ended")


def test_second_legs_are_calls(make_key, sink):
    """They count, and are refused where one is too many."""
    key = make_key("--max-calls", 1)
    first = key.answered()
    body = refused(key.forward(first), 429, TOO_MANY)
    assert "callId" not in body
    key.set("--max-calls", 2)
    second = key.forward(first).json()["forwardedCallId"]
    sink.wait(first, "call.transferred")
    refused(key.call(), 429, TOO_MANY)
    key.hang_up(first)
    sink.wait(second, "call.ended")
    sink.wait(key.made(), "call.ended")


# --- the key's webhook ---


def test_default_webhook(make_key, sink, ports):
    """Events go there if a request has no URL; a request's own goes first."""
    other = WebhookSink(ports)
    try:
        key = make_key("--webhook-url", sink.url)
        body = {"number": number("03")}
        made = key.api().post("/makecall", json=body).json()["callId"]
        assert sink.wait(made, "call.ended")["status"] == "busy"
        made = key.made(webhookUrl=other.url)
        assert other.wait(made, "call.ended")
        assert not sink.events(made)
        answers = key.api().batch([body, {**body, "webhookUrl": other.url}])
        ids = [a["callId"] for a in answers.json()["results"]]
        assert sink.wait(ids[0], "call.ended")
        assert other.wait(ids[1], "call.ended")
    finally:
        other.close()


def test_default_webhook_is_checked(kaphila, sink):
    """When it is set, and again at each call that would use it, for the
    configuration may have changed."""
    for url, why in (
        ("ftp://example.com/", "https://"),
        ("https://u:p@example.com/", "--webhook-url"),
        ("https://10.0.0.1/", "--webhook-url"),
    ):
        done = kaphila.ctl(
            "keys", "create", "x", "--webhook-url", url, check=False
        )
        assert done.returncode == 2 and why in done.stderr, done.stderr
    key = Key(kaphila, sink, "--webhook-url", sink.url)
    body = {"number": number("03")}
    call_id = key.api().post("/makecall", json=body).json()["callId"]
    sink.wait(call_id, "call.ended")
    kaphila.write_config(webhook__allow_http="false")
    assert kaphila.ctl("reload")["ok"] is True

    def says_no():
        response = key.api().post("/makecall", json=body)
        return [response] if response.status_code == 400 else None

    (response,) = wait_until(says_no, "the reload to reach the workers")
    error = refused(response, 400, "INVALID_WEBHOOK_URL")["error"]
    assert error.startswith("Invalid webhookUrl, the key's default: ")
    # nothing is wrong with a call that sends its own
    own = {"webhookUrl": "https://example.com/none", "callerId": OTHER}
    key.set("--caller-ids", OWN)
    refused(key.call(**own), 403, NOT_FROM)


# --- calls at a time ---


def test_too_many_calls(make_key, sink):
    """The next is refused with Retry-After while as many live, by whichever
    worker; when one has ended the next is made. Other keys don't care."""
    key = make_key("--max-calls", 2)
    live = [key.made("10"), key.made("04")]
    for _ in range(8):
        response = key.call("04")
        refused(
            response,
            429,
            TOO_MANY,
            "This key has as many live calls as it may have",
        )
        assert response.headers["Retry-After"] == "5"
        assert "X-RateLimit-Remaining" in response.headers
    sink.wait(make_key("--max-calls", 1).made(), "call.ended")
    answers = key.api().batch([key.body("04")] * 3).json()["results"]
    assert {(a["statusCode"], a["code"]) for a in answers} == {(429, TOO_MANY)}
    key.hang_up(live[0])
    live[0] = key.made("04")
    # lowered, it takes no call away; raised, the next is made
    key.set("--max-calls", 1)
    assert key.live() == 2
    refused(key.call("04"), 429, TOO_MANY)
    key.set("--max-calls", 0)
    live += [key.made("04"), key.made("04")]
    key.hang_up(*live)


def test_never_more_at_once(make_key, sink, database):
    """Requests of many connections at the same time, single ones and lists:
    as many calls as are free, and no more, until all have had their call."""
    limit, wanted = 5, 40
    key = make_key("--max-calls", limit)
    start = threading.Barrier(20)

    def rush(i):
        start.wait()
        if i % 4 == 0:
            calls = [key.body("10")] * 3
            return key.api().batch(calls).json()["results"]
        response = key.call("10")
        return [{**response.json(), "statusCode": response.status_code}]

    with ThreadPoolExecutor(20) as pool:
        answers = [a for got in pool.map(rush, range(20)) for a in got]
    made = [a["callId"] for a in answers if a["statusCode"] == 200]
    assert len(made) == limit == key.live()
    assert len(answers) == 30
    assert {a["code"] for a in answers if a["statusCode"] != 200} == {TOO_MANY}
    key.hang_up(*made)

    # calls that end by themselves, and who wants one tries until he has it
    def until_made(_):
        return wait_until(
            lambda: next(
                (r for r in [key.call("08")] if r.status_code == 200), None
            ),
            "a free place",
            120,
        ).json()["callId"]

    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(until_made, range(wanted)))
    assert len(set(made)) == wanted
    for call_id in made:
        sink.wait(call_id, "call.ended", 60)
    rows = wait_until(
        lambda: (
            got := database.query(
                "SELECT created_at, ended_at FROM call_logs"
                " WHERE call_id = ANY(%s)",
                (made,),
            )
        )
        and len(got) == wanted
        and got,
        "all rows in call_logs",
        60,
    )
    # an end before a beginning of the same moment
    changes = sorted(
        [(began, 1) for began, _ in rows] + [(ended, -1) for _, ended in rows]
    )
    most = max(itertools.accumulate(step for _, step in changes))
    assert 1 < most <= limit
    assert key.live() == 0


# --- retries, order, changes ---


def test_a_refusal_frees_the_idempotency_key(make_key, sink):
    """What was refused is made with the same key once it is allowed, and
    answered again from then on, also where it wouldn't be allowed any more."""
    key = make_key("--deny", "1415555", "--caller-ids", OWN, "--max-calls", 1)
    token = str(uuid.uuid4())
    body = {"callerId": OTHER}
    refused(key.call("04", token, **body), 403, NOT_FROM)
    key.set("--caller-ids", "none")
    refused(key.call("04", token, **body), 403, NOT_TO)
    key.set("--deny", "none")
    other = key.made("04")
    refused(key.call("04", token, **body), 429, TOO_MANY)
    key.hang_up(other)
    first = key.call("04", token, **body)
    assert first.status_code == 200, first.text
    assert "Idempotent-Replayed" not in first.headers
    key.set("--deny", "1415555", "--caller-ids", OWN)
    again = key.call("04", token, **body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.text == first.text
    key.hang_up(first.json()["callId"])
    assert len(sink.events(kind="call.initiated")) == 2


def test_order_of_refusals(kaphila, make_key):
    """400, 403, TOO_MANY_CALLS, 402, 503: the first that holds is told; the
    rate limit before all of them, and each request counts."""
    key = make_key("--deny", "44", "--max-calls", 1, credits=1)
    key.take_trunk()
    refused(key.call(), 503, "NO_TRUNKS_ASSIGNED")
    kaphila.ctl("trunks", "assign", key.name, "carrier")
    key.set()
    live = key.made("04")
    refused(key.call(), 429, TOO_MANY)  # no credit is left, either
    key.set("--max-calls", 2)
    refused(key.call(), 402, "INSUFFICIENT_CREDITS")
    key.take_trunk()
    denied = {"number": "442079460018"}
    refused(key.call(**denied), 403, NOT_TO)
    refused(key.call(**denied, ringTimeout="x"), 400, "INVALID_PARAMETER")
    response = key.call(**denied)
    refused(response, 403, NOT_TO)
    limit, left = (
        int(response.headers[f"X-RateLimit-{name}"])
        for name in ("Limit", "Remaining")
    )
    key.set(rate_limit=limit - left + 1)
    response = key.call(**denied)
    refused(response, 403, NOT_TO)
    assert response.headers["X-RateLimit-Remaining"] == "0"
    refused(key.call(**denied), 429, "RATE_LIMIT_EXCEEDED")
    key.set()
    key.hang_up(live)


def test_a_change_counts_at_once(asterisk, database, make_kaphila, sink):
    """In every worker, which would keep what it knows of a key for an hour;
    and none is started anew."""
    kaphila = make_kaphila(
        asterisk.media,
        database,
        {"auth.cache_fresh_s": 3600, "http.workers": 3},
    )
    pids = {name: c["pid"] for name, c in kaphila.children().items()}
    key = Key(kaphila, sink)
    for _ in range(12):
        sink.wait(key.made("03"), "call.ended")
    for limits, status, code, back in (
        (("--deny", "1"), 403, NOT_TO, ("--deny", "none")),
        (("--allow", "2"), 403, NOT_TO, ("--allow", "none")),
        (("--caller-ids", OTHER), 403, NOT_FROM, ("--caller-ids", "none")),
    ):
        kaphila.ctl("keys", "set", key.name, *limits)
        wait_until(
            lambda status=status: all(
                key.call("03", callerId=OWN).status_code == status
                for _ in range(12)
            ),
            f"every worker to refuse by {limits}",
        )
        refused(key.call("03", callerId=OWN), status, code)
        kaphila.ctl("keys", "set", key.name, *back)
        wait_until(
            lambda: all(
                key.call("03", callerId=OWN).status_code == 200
                for _ in range(12)
            ),
            f"every worker to allow it again by {back}",
        )
    assert pids == {name: c["pid"] for name, c in kaphila.children().items()}


@pytest.fixture
def empty_database(postgres, logs):
    """A database without any schema; it outlives who is named behind it."""
    logs.add(postgres)
    made = postgres.create_database()
    yield made
    made.drop()


def test_an_older_schema(
    empty_database, asterisk, make_kaphila, sink, tmp_path
):
    """A node runs on the schema of before there were limits; when the schema
    comes, they can be set, and count, without a restart."""
    older = tmp_path / "older"
    older.mkdir()
    for path in paths.SCHEMA.glob("000[1-4]_*.sql"):
        shutil.copy2(path, older)
    kaphila = make_kaphila(asterisk.media, empty_database, start=False)
    assert kaphila.ctl("migrate", "--dir", older)["version"] == 4
    kaphila.start()
    pids = {name: c["pid"] for name, c in kaphila.children().items()}
    key = Key(kaphila, sink)
    key.set()
    sink.wait(key.made("03"), "call.ended")
    done = kaphila.ctl("keys", "set", key.name, "--deny", 1, check=False)
    assert done.returncode == 1 and "kaphilactl migrate" in done.stderr
    assert kaphila.ctl("migrate", "--dir", paths.SCHEMA)["version"] >= 5
    sink.wait(key.made("03"), "call.ended")
    key.set("--deny", 1)
    refused(key.call("03"), 403, NOT_TO)
    assert pids == {name: c["pid"] for name, c in kaphila.children().items()}
