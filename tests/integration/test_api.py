"""The API's answers to the letter: health, keys, errors, headers, tenants, the
order of the checks, the rate limit, the lists of live calls."""

import base64
import json
import re
import time

from harness import paths
from harness.waiting import wait_until
from test_calls import number

HEADER_TEXT = "Missing or invalid Authorization header"
KEY_TEXT = "Invalid API key"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
NOBODYS_CALL = "1720012345.88"

# Every path that wants a key.
PROTECTED = [
    ("POST", "/makecall"),
    ("POST", "/hangup"),
    ("GET", "/calls"),
    ("GET", f"/calls/{NOBODYS_CALL}"),
    ("GET", "/api/me"),
]
ALLOWED = {
    "/health": {"GET", "HEAD", "OPTIONS"},
    "/ready": {"GET", "HEAD", "OPTIONS"},
    "/makecall": {"POST", "OPTIONS"},
    "/hangup": {"POST", "OPTIONS"},
    "/calls": {"GET", "HEAD", "OPTIONS"},
    f"/calls/{NOBODYS_CALL}": {"GET", "HEAD", "OPTIONS"},
    "/api/me": {"GET", "HEAD", "OPTIONS"},
}


def refused(response, status, code, text=None):
    """Assert the envelope of an error: nothing in it twice; its fields."""
    pairs = json.loads(response.text, object_pairs_hook=list)
    body = dict(pairs)
    assert response.status_code == status, response.text
    assert len(body) == len(pairs), f"a field twice: {response.text}"
    assert body["success"] is False and body["code"] == code, response.text
    if text is not None:
        assert body["error"] == text
    assert isinstance(body["error"], str) and body["error"]
    assert response.headers["Content-Type"].startswith("application/json")
    assert response.headers["X-Request-Id"]
    assert ("Retry-After" in response.headers) == (status in (429, 503))
    return body


def allow(response):
    """The methods of an Allow header."""
    return {method.strip() for method in response.headers["Allow"].split(",")}


def keys_of(shape):
    """The names in a JSON value, with those within."""
    if not isinstance(shape, dict):
        return type(shape).__name__
    return {name: keys_of(value) for name, value in shape.items()}


def test_health(kaphila, sink):
    """The reference's shape on both listeners, without a key, and the count
    of live calls whoever's they are."""
    wanted = {
        "status": "str",
        "service": "str",
        "version": "str",
        "timestamp": "str",
        "stats": {"activeCalls": "int"},
        "features": {
            "recording": "str",
            "amd": "str",
            "tts": "str",
            "playback": "str",
        },
    }
    client = kaphila.client()

    for response in (kaphila.api().get("/health"), kaphila.admin("/health")):
        body = response.json()
        assert response.status_code == 200
        assert keys_of(body) == wanted
        assert body["status"] == "healthy"
        assert body["service"] == "Kaphila API Telephony API"
        assert body["version"] == "2.0.0"
        assert re.fullmatch(TIME, body["timestamp"])
        assert body["stats"] == {"activeCalls": 0}
        assert body["features"]["recording"] == "bridge-only"
        assert body["features"]["tts"] == "espeak-ng"

    call_id = client.make_call(number("04"), webhookUrl=sink.url)
    health = kaphila.api().get("/health").json()
    assert health["stats"] == {"activeCalls": 1}
    client.post("/hangup", json={"callId": call_id})
    sink.wait(call_id, "call.ended")
    health = kaphila.api().get("/health").json()
    assert health["stats"] == {"activeCalls": 0}


def test_health_names_engines(asterisk, database, make_kaphila):
    """tts of /health is the engines that have all they need, in their order:
    the reference's words for these two."""
    settings = {"speech.engines": "google,gtts", "speech.google_key": "a-key"}
    kaphila = make_kaphila(asterisk.media, database, settings)

    health = kaphila.api().get("/health").json()

    assert health["features"]["tts"] == "google-cloud-fallback-gtts"


def test_ready(kaphila):
    """200 on both listeners, and nothing missing."""
    for response in (kaphila.api().get("/ready"), kaphila.admin("/ready")):
        assert response.status_code == 200
        assert response.json()["ready"] is True
        assert response.json()["missing"] == []


def test_not_ready(asterisk, database, make_kaphila, ports):
    """503 with a list of what is missing; /health doesn't mind."""
    nobody = ports.take()
    kaphila = make_kaphila(
        asterisk.media,
        database,
        {
            "asterisk.url": f"http://127.0.0.1:{nobody}",
            "postgres.dsn": f"postgresql://kaphila@127.0.0.1:{nobody}/x",
        },
        start=False,
    )
    kaphila.start(wait_ready=False)
    kaphila.wait_log("worker.0.*no event link")
    wait_until(
        lambda: "ready" in {c["state"] for c in kaphila.status()["children"]},
        "a child that is ready",
    )

    for ask in (kaphila.api().get, kaphila.admin):
        body = refused(ask("/ready"), 503, "TELEPHONY_UNAVAILABLE")
        assert body["ready"] is False
        assert set(body["missing"]) == {"asterisk", "postgresql"}
        assert ask("/health").status_code == 200
    refused(
        kaphila.api("ak_" + "0" * 32).get("/api/me"),
        503,
        "DATABASE_UNAVAILABLE",
    )
    ports.release(nobody)


def test_me(kaphila, database, sink):
    """Every field of /api/me, before and after two calls."""
    made = kaphila.ctl(
        "keys", "create", "Campaign API", "--credits", 78, "--rate-limit", 200
    )
    kaphila.add_trunk("carrier")
    kaphila.ctl("trunks", "assign", made["keyId"], "carrier")
    client = kaphila.api(made["key"])

    response = client.get("/api/me")
    body = response.json()
    assert response.status_code == 200 and set(body) == {"success", "apiKey"}
    assert body["success"] is True
    me = body["apiKey"]
    assert {**me, "createdAt": None, "lastUsed": None} == {
        "id": database.query("SELECT id FROM api_keys")[0][0],
        "keyId": made["keyId"],
        "name": "Campaign API",
        "credits": 78,
        "totalCalls": 0,
        "successfulCalls": 0,
        "rateLimit": 200,
        "createdAt": None,
        "lastUsed": None,
    }
    assert re.fullmatch(r"key_[0-9a-z]+", me["keyId"])
    assert re.fullmatch(TIME, me["createdAt"])
    assert made["key"] not in response.text

    for digits in ("08", "03"):
        call_id = client.make_call(number(digits), webhookUrl=sink.url)
        sink.wait(call_id, "call.ended")
    after = client.get("/api/me").json()["apiKey"]
    assert (after["totalCalls"], after["successfulCalls"]) == (2, 1)
    assert after["credits"] == 77
    assert re.fullmatch(TIME, after["lastUsed"])
    assert after["lastUsed"] > me["createdAt"]
    assert after["createdAt"] == me["createdAt"]
    # The same when PostgreSQL has it all, and to another worker.
    wait_until(
        lambda: database.query(
            "SELECT total_calls, successful_calls, credits FROM api_keys"
        )
        == [(2, 1, 77)],
        "the counters in PostgreSQL",
    )
    for _ in range(6):
        other = kaphila.api(made["key"]).get("/api/me").json()["apiKey"]
        assert {**other, "lastUsed": 0} == {**after, "lastUsed": 0}
    assert kaphila.log_text().count(made["key"]) == 0


def basic(text):
    """An Authorization header of the other kind."""
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_authorization(kaphila):
    """What passes for a key, and the two texts for what doesn't."""
    key = kaphila.create_key()
    api = kaphila.api()
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    good = [
        f"Bearer {key}",
        f"bearer {key}",
        basic(f"user:{key}"),
        basic(f":{key}"),
    ]
    bad = {
        "": HEADER_TEXT,
        "Bearer": HEADER_TEXT,
        "Bearer ": HEADER_TEXT,
        key: HEADER_TEXT,
        f"Token {key}": HEADER_TEXT,
        f"Bearer{key}": HEADER_TEXT,
        "Basic": HEADER_TEXT,
        "Basic !!!!": HEADER_TEXT,
        basic(key): HEADER_TEXT,
        basic(f"{key}:"): HEADER_TEXT,
        f"Bearer {wrong}": KEY_TEXT,
        f"Bearer {key}x": KEY_TEXT,
        f"Bearer {key} {key}": KEY_TEXT,
        f"Bearer {key.upper()}": KEY_TEXT,
        basic(f"user:{wrong}"): KEY_TEXT,
        basic(f"{key}:{wrong}"): KEY_TEXT,
    }

    for header in good:
        response = api.get("/api/me", headers={"Authorization": header})
        assert response.status_code == 200, header.replace(key, "KEY")
    for header, text in bad.items():
        for method, path in PROTECTED:
            response = api.request(
                method, path, headers={"Authorization": header}
            )
            refused(response, 401, "UNAUTHORIZED", text)
            assert "X-RateLimit-Limit" not in response.headers
    for method, path in PROTECTED:
        response = api.request(method, path)
        refused(response, 401, "UNAUTHORIZED", HEADER_TEXT)
        assert "Bearer" in response.headers["WWW-Authenticate"]


def test_disabled_and_expired_keys(kaphila, database):
    """A 401 like an unknown key's, soon after the change and on every worker;
    good again when it is enabled again."""

    def answers(key, status):
        """Many connections, so that every worker is asked."""
        return all(
            kaphila.api(key).get("/api/me").status_code == status
            for _ in range(8)
        )

    made = [kaphila.ctl("keys", "create", name) for name in "ab"]
    for one in made:
        assert answers(one["key"], 200)

    kaphila.ctl("keys", "disable", made[0]["keyId"])
    wait_until(lambda: answers(made[0]["key"], 401), "401 for the disabled key")
    refused(
        kaphila.api(made[0]["key"]).get("/calls"), 401, "UNAUTHORIZED", KEY_TEXT
    )
    assert answers(made[1]["key"], 200)
    kaphila.ctl("keys", "enable", made[0]["keyId"])
    wait_until(lambda: answers(made[0]["key"], 200), "200 for the enabled key")

    database.query(
        "UPDATE api_keys SET expires_at = now() - interval '1 second'"
        " WHERE key_id = %s",
        (made[1]["keyId"],),
    )
    wait_until(lambda: answers(made[1]["key"], 401), "401 for the expired key")
    refused(
        kaphila.api(made[1]["key"]).post("/makecall", data="{"),
        401,
        "UNAUTHORIZED",
        KEY_TEXT,
    )
    shown = {row["keyId"]: row["state"] for row in kaphila.ctl("keys", "list")}
    assert shown == {made[0]["keyId"]: "enabled", made[1]["keyId"]: "expired"}


def test_a_key_expires_by_itself(kaphila):
    """Nobody tells the workers that its time has come."""
    when = time.time() + 2
    made = kaphila.ctl(
        "keys",
        "create",
        "short",
        "--expires",
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
    )
    client = kaphila.api(made["key"])
    wait_until(
        lambda: client.get("/api/me").status_code == 401, "the key to expire"
    )
    assert time.time() >= int(when)


def test_paths_and_methods(kaphila):
    """404 before 405 before 401; Allow; OPTIONS and HEAD."""
    key = kaphila.create_key()
    api, client = kaphila.api(), kaphila.api(key)

    for path in ("/", "/nothing", "/makecall/", "/calls/1/2", "/Health", "//x"):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            response = client.request(method, path)
            if path == "//x":  # reads as an authority: not even a path
                assert response.status_code == 400
                continue
            refused(response, 404, "NOT_FOUND", "Not found")
        assert api.get(path).status_code in (404, 400)  # before the 401

    for path, methods in ALLOWED.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - methods:
            response = api.request(method, path)
            refused(response, 405, "METHOD_NOT_ALLOWED")
            assert allow(response) == methods
        response = api.options(path)
        assert response.status_code in (200, 204) and response.text == ""
        assert allow(response) == methods
        assert "Access-Control-Allow-Origin" not in response.headers

    assert api.head("/makecall").status_code == 405
    assert api.head("/calls").status_code == 401
    for path in ("/health", "/ready", "/calls", "/api/me"):
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code == 200
        assert head.content == b"" and int(head.headers["Content-Length"]) > 0
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    missing = client.head(f"/calls/{NOBODYS_CALL}")
    assert missing.status_code == 404 and missing.content == b""


def test_request_id(kaphila):
    """The client's own where it is sane, else one of ours; in the log too."""
    client = kaphila.client()
    for sane in ("abc", "0123-4567.89_ab", "x" * 64):
        for path in ("/api/me", "/nothing"):
            response = client.get(path, headers={"X-Request-Id": sane})
            assert response.headers["X-Request-Id"] == sane
    ours = set()
    for insane in (None, "", "a b", "a\tb", "x" * 5000, 'a"b', "ä".encode()):
        headers = {} if insane is None else {"X-Request-Id": insane}
        response = client.get("/api/me", headers=headers)
        assert response.status_code == 200
        assert response.headers["X-Request-Id"] != insane
        assert re.fullmatch(r"[\w.-]{8,64}", response.headers["X-Request-Id"])
        ours.add(response.headers["X-Request-Id"])
    assert len(ours) == 7

    mine = "trace-me-4711"
    response = client.post(
        "/makecall",
        json={"number": number("03")},
        headers={"X-Request-Id": mine},
    )
    call_id = response.json()["callId"]
    line = kaphila.wait_log(rf".*call accepted.*req={mine}.*").group()
    assert f"call={call_id}" in line


def test_another_keys_call_is_no_call(kaphila, sink):
    """Not a field of the answers tells it from one that never was."""
    mine, other = kaphila.client(name="mine"), kaphila.client(name="other")
    call_id = mine.make_call(number("04"), webhookUrl=sink.url)
    sink.wait(call_id, "call.ringing")

    def answer(response):
        refused(response, 404, "CALL_NOT_FOUND", "Call not found")
        drop = {"date", "x-request-id", "ratelimit", "x-ratelimit-remaining"}
        headers = {
            name: value
            for name, value in response.headers.items()
            if name.lower() not in drop
        }
        return response.text, headers

    never_was = call_id.replace(".", ".9")
    assert answer(other.get(f"/calls/{call_id}")) == answer(
        other.get(f"/calls/{never_was}")
    )
    assert answer(other.post("/hangup", json={"callId": call_id})) == answer(
        other.post("/hangup", json={"callId": never_was})
    )
    for odd in ("x", "1.2.3", "%00", "0" * 300, "1720012345.", "%2e%2e"):
        response = mine.get(f"/calls/{odd}")
        assert response.status_code in (404, 400), odd
        answer(mine.post("/hangup", json={"callId": odd}))
    assert other.get("/calls").json()["calls"] == []
    assert other.get("/calls").json()["totalCalls"] == 0

    # It rings on.
    assert mine.get(f"/calls/{call_id}").json()["status"] == "ringing"
    assert sink.kinds(call_id) == ["call.initiated", "call.ringing"]
    assert mine.post("/hangup", json={"callId": call_id}).status_code == 200
    sink.wait(call_id, "call.ended")


def test_order_of_the_checks(kaphila):
    """Each request has every fault from some check on; the first one shows."""
    broken = {"data": "{", "headers": {"Content-Type": "application/json"}}
    api = kaphila.api()
    limited = kaphila.client(credits=0, rate_limit=1, trunks=())
    poor = kaphila.client(credits=0, trunks=())
    rich = kaphila.client(credits=1, trunks=())

    refused(api.post("/makecall", **broken), 401, "UNAUTHORIZED")
    refused(limited.post("/makecall", **broken), 400, "INVALID_JSON")
    refused(limited.post("/makecall", **broken), 429, "RATE_LIMIT_EXCEEDED")
    refused(poor.post("/makecall", **broken), 400, "INVALID_JSON")
    refused(poor.post("/makecall", json={}), 400, "MISSING_PARAMETER")
    good = {"json": {"number": number("03")}}
    refused(limited.post("/makecall", **good), 429, "RATE_LIMIT_EXCEEDED")
    refused(poor.post("/makecall", **good), 402, "INSUFFICIENT_CREDITS")
    refused(rich.post("/makecall", **good), 503, "NO_TRUNKS_ASSIGNED")

    refused(api.post("/hangup", **broken), 401, "UNAUTHORIZED")
    refused(limited.post("/hangup", **broken), 429, "RATE_LIMIT_EXCEEDED")
    refused(poor.post("/hangup", **broken), 400, "INVALID_JSON")
    refused(
        poor.post("/hangup", json={}),
        400,
        "MISSING_PARAMETER",
        "Missing required parameter: callId",
    )
    refused(poor.post("/hangup", json={"callId": 7}), 400, "INVALID_PARAMETER")
    refused(
        poor.post("/hangup", json={"callId": NOBODYS_CALL}),
        404,
        "CALL_NOT_FOUND",
    )
    # A body that is too large or of another type, and no key: 401.
    large = {"data": b"x" * 70000, "headers": {"Content-Type": "text/plain"}}
    refused(kaphila.api().post("/makecall", **large), 401, "UNAUTHORIZED")
    refused(limited.post("/makecall", **large), 429, "RATE_LIMIT_EXCEEDED")
    refused(poor.post("/makecall", **large), 413, "BODY_TOO_LARGE")
    small = {"data": b"x", "headers": {"Content-Type": "text/plain"}}
    refused(poor.post("/makecall", **small), 415, "UNSUPPORTED_MEDIA_TYPE")


def rate(response):
    """The rate limit as an answer's headers tell it, checked against one
    another: limit, remaining, reset."""
    limit, remaining, reset = (
        int(response.headers[f"X-RateLimit-{name}"])
        for name in ("Limit", "Remaining", "Reset")
    )
    policy = response.headers["RateLimit-Policy"]
    assert re.search(rf";q={limit}(;|$)", policy), policy
    assert re.search(r";w=3600(;|$)", policy), policy
    state = response.headers["RateLimit"]
    assert re.search(rf";r={remaining}(;|$)", state), state
    assert 0 < int(re.search(r";t=(\d+)", state).group(1)) <= 3600
    assert 0 < reset - time.time() <= 3601
    return limit, remaining, reset


def test_rate_limit(kaphila):
    """Counted over all workers and over a restart of all processes, whatever
    becomes of a request."""
    key = kaphila.create_key(rate_limit=7)
    other = kaphila.create_key(name="other", rate_limit=7)

    def hang_up(one=key):
        """A request that counts, on a connection and so a worker of its own."""
        return kaphila.api(one).post("/hangup", json={"callId": NOBODYS_CALL})

    begun = time.time()
    _, _, reset = rate(kaphila.api(key).post("/makecall", data="{"))
    assert begun + 3598 <= reset <= time.time() + 3601
    for remaining in (5, 4, 3):
        response = hang_up()
        assert response.status_code == 404
        assert rate(response) == (7, remaining, reset)
    for path in ("/calls", "/api/me", f"/calls/{NOBODYS_CALL}", "/health"):
        response = kaphila.api(key).get(path)
        assert "X-RateLimit-Limit" not in response.headers

    kaphila.restart()
    assert rate(hang_up()) == (7, 2, reset)
    kaphila.kill()
    kaphila.start()
    assert rate(hang_up()) == (7, 1, reset)
    assert rate(hang_up()) == (7, 0, reset)
    for _ in range(4):
        response = hang_up()
        body = refused(
            response, 429, "RATE_LIMIT_EXCEEDED", "Rate limit exceeded"
        )
        assert set(body) == {"success", "error", "code"}
        assert rate(response) == (7, 0, reset)
        wait_s = int(response.headers["Retry-After"])
        assert abs(time.time() + wait_s - reset) <= 2
    # It is this key's alone, and what isn't limited goes on.
    assert rate(hang_up(other))[:2] == (7, 6)
    assert kaphila.api(key).get("/api/me").status_code == 200


def test_rate_limits_null_and_zero(kaphila):
    """Null is the default of 100; 0 means that there is no limit."""
    usual = kaphila.ctl("keys", "create", "usual")
    none = kaphila.ctl("keys", "create", "none", "--rate-limit", 0)
    response = kaphila.api(usual["key"]).post("/hangup", json={})
    assert rate(response)[:2] == (100, 99)
    me = kaphila.api(usual["key"]).get("/api/me").json()["apiKey"]
    assert me["rateLimit"] == 100
    for _ in range(120):
        response = kaphila.api(none["key"]).post("/hangup", json={})
        assert response.status_code == 400
    assert "X-RateLimit-Limit" not in response.headers
    me = kaphila.api(none["key"]).get("/api/me").json()["apiKey"]
    assert me["rateLimit"] == 0


def workers_of(kaphila, call_ids):
    """The workers that took these calls, by the log."""
    return {
        re.search(rf"(worker\.\d)\[.*call accepted.*{one}", kaphila.log_text())[
            1
        ]
        for one in call_ids
    }


def test_live_calls_of_several_workers(kaphila, sink):
    """Any worker lists, shows and hangs up the calls of all."""
    key = kaphila.create_key()
    calls = []
    while len(calls) < 5 or len(workers_of(kaphila, calls)) < 2:
        assert len(calls) < 30, "one worker gets all connections"
        digits = "04" if len(calls) % 2 else "10"
        calls.append(
            kaphila.api(key).make_call(number(digits), webhookUrl=sink.url)
        )
        sink.wait(
            calls[-1],
            "call.ringing" if len(calls) % 2 == 0 else "recording.started",
        )

    item = {
        "callId": "str",
        "status": "str",
        "number": "str",
        "amd": {
            "status": "str",
            "cause": "str",
            "confidence": "int",
            "detail": "str",
            "decidedAt": "NoneType",
        },
        "gather": "NoneType",
        "voiceName": "str",
        "hasBridge": "bool",
    }
    for _ in range(6):
        body = kaphila.api(key).get("/calls").json()
        assert body["success"] is True
        assert re.fullmatch(TIME, body["timestamp"])
        assert body["totalCalls"] == body["activeCalls"] == len(calls)
        assert {call["callId"] for call in body["calls"]} == set(calls)
        for call in body["calls"]:
            assert item.items() <= keys_of(call).items()
            assert call["status"] == (
                "answered" if call["number"].endswith("10") else "ringing"
            )
            assert (call["recording"] is None) == (call["status"] == "ringing")
            shown = kaphila.api(key).get(f"/calls/{call['callId']}").json()
            assert shown["callId"] == call["callId"]
            assert shown["hasSnoop"] is False

    for call_id in calls:
        response = kaphila.api(key).post("/hangup", json={"callId": call_id})
        assert response.status_code == 200
    for call_id in calls:
        assert sink.wait(call_id, "call.ended")["endReason"] == "api_hangup"
    assert kaphila.api(key).get("/calls").json()["calls"] == []


def test_what_makecall_takes(kaphila):
    """The optional fields: absent, null, of a type that passes, clamped."""
    client = kaphila.client()

    def place(**body):
        response = client.post(
            "/makecall", json={"number": number("03"), **body}
        )
        assert response.status_code == 200, (body, response.text)
        return response.json()

    plain = place()
    assert plain["ringTimeoutSeconds"] == 30
    assert plain["voiceName"] == "en-US-Neural2-A"
    assert plain["amdEnabled"] is False
    nulls = place(
        webhookUrl=None,
        callerId=None,
        useAmd=None,
        voiceName=None,
        ringTimeout=None,
        metadata=None,
        record=None,
        maxDuration=None,
        nonsense={"any": "thing"},
    )
    assert keys_of(nulls) == keys_of(plain)
    for given, effective in (
        (5, 5),
        (4, 5),
        (0, 5),
        (-7, 5),
        ("20", 20),
        (20.7, 20),
        (120, 120),
        (121, 120),
        (1e300, 120),
    ):
        assert place(ringTimeout=given)["ringTimeoutSeconds"] == effective
    assert place(number=14155550003)["success"] is True
    assert place(number="+1 (415) 555-00.03")["success"] is True
    assert (
        place(voiceName="cmn-CN-Wavenet-A")["voiceName"] == "cmn-CN-Wavenet-A"
    )
    assert place(useAmd=True)["amdEnabled"] is True
    empty = client.post("/makecall")
    refused(
        empty, 400, "MISSING_PARAMETER", "Missing required parameter: number"
    )
    form = client.post("/makecall", data=json.dumps({"number": number("03")}))
    assert form.status_code == 200  # no Content-Type: taken for JSON


def test_codes_are_documented():
    """README's table of the codes is the list of what there is."""
    source = (paths.TOP / "worker" / "api_error.c").read_text(encoding="utf-8")
    readme = (paths.TOP / "README.md").read_text(encoding="utf-8")
    codes = set(re.findall(r'\{ ([45]\d\d), "([A-Z_]+)"', source))
    codes.add(("405", "METHOD_NOT_ALLOWED"))  # the router's own
    listed = re.findall(r"^\| ([45]\d\d) \| `([A-Z_]+)` \|", readme, re.M)
    assert sorted(listed) == sorted(codes)
