"""PostgreSQL, Asterisk and webhook targets that are away, at start and in the
middle, dead or only silent: the API says so, nothing exits, nothing is lost,
and all goes on when they are back."""

import re

import pytest
from harness.waiting import wait_until
from test_api import refused
from test_calls import check_events, log_row, number, requests_empty

FAST = {  # seconds of an outage are long enough
    "calls.originate_timeout_ms": 1000,
    "asterisk.command_timeout_ms": 1000,
    "asterisk.ping_interval_ms": 400,
    "auth.cache_fresh_s": 1,
}


def pids(kaphila):
    """Of the master and all its children."""
    return {
        "master": kaphila.pid(),
        **{name: child["pid"] for name, child in kaphila.children().items()},
    }


def wait_children(kaphila):
    """Until every child is ready, whatever it may miss."""
    wait_until(
        lambda: kaphila.ctl("status", check=False).returncode == 0
        and {child["state"] for child in kaphila.status()["children"]}
        == {"ready"},
        "the children",
        60,
    )


def wait_missing(kaphila, *names):
    """Until every worker that answers misses these, and says so."""

    def all_miss():
        for _ in range(6):
            response = kaphila.api().get("/ready")
            if response.status_code != (503 if names else 200):
                return False
            if set(response.json()["missing"]) != set(names):
                return False
        return True

    wait_until(all_miss, f"/ready without {names or 'any fault'}", 60)


def placed(client, sink, digits, **body):
    """A call that was made; its id."""
    return client.make_call(number(digits), webhookUrl=sink.url, **body)


def hang_up(client, sink, call_id):
    """End a call by the API; its call.ended."""
    assert client.post("/hangup", json={"callId": call_id}).status_code == 200
    ended = sink.wait(call_id, "call.ended")
    assert ended["endReason"] == "api_hangup"
    return ended


def whole_call(kaphila, client, sink, database, digits="08"):
    """A call from its beginning to the row and the recording."""
    call_id = placed(client, sink, digits)
    ended = sink.wait(call_id, "call.ended")
    done = sink.wait(call_id, "recording.completed")
    assert len(list(kaphila.recordings_dir.rglob(done["filename"]))) == 1
    assert log_row(database, call_id)[0] == ended["status"] == "completed"
    check_events(sink.events(call_id))


# --- PostgreSQL ---


def test_postgres_away_at_start(
    own_postgres, own_database, asterisk, make_kaphila, sink
):
    """It starts all the same, refuses keys by 503, and goes on by itself."""
    kaphila = make_kaphila(asterisk.media, own_database, FAST, start=False)
    key = kaphila.create_key(credits=2)
    own_postgres.stop()
    kaphila.start(wait_ready=False)
    wait_children(kaphila)
    wait_missing(kaphila, "postgresql")
    before = pids(kaphila)

    for one in (key, "ak_" + "1" * 32):
        for method, path in (("GET", "/api/me"), ("POST", "/makecall")):
            response = kaphila.api(one).request(method, path)
            refused(response, 503, "DATABASE_UNAVAILABLE")
    assert kaphila.api().get("/health").status_code == 200
    assert kaphila.api().get("/api/me").status_code == 401

    own_postgres.start()
    kaphila.wait_ready()
    assert pids(kaphila) == before
    whole_call(kaphila, kaphila.api(key), sink, own_database)
    refused(kaphila.api("ak_" + "1" * 32).get("/api/me"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_postgres_away_in_the_middle(
    own_postgres, own_database, asterisk, make_kaphila, sink, how
):
    """Calls go on with the cached key; unknown ones are 503; what is owed to
    PostgreSQL comes when it is back, once."""
    kaphila = make_kaphila(asterisk.media, own_database, FAST)
    key = kaphila.create_key(credits=3)
    client = kaphila.api(key)
    before = pids(kaphila)
    live = placed(client, sink, "10")
    sink.wait(live, "recording.started")

    if how == "stopped":
        own_postgres.stop()
        wait_missing(kaphila, "postgresql")
    else:
        own_postgres.freeze()
    refused(
        kaphila.api("ak_" + "1" * 32).get("/api/me"),
        503,
        "DATABASE_UNAVAILABLE",
    )
    hang_up(client, sink, live)
    calls = [live] + [placed(client, sink, digits) for digits in ("08", "03")]
    for call_id in calls:
        sink.wait(call_id, "call.ended")
    for call_id in calls[:2]:
        sink.wait(call_id, "recording.completed")
    me = client.get("/api/me").json()["apiKey"]
    assert (me["credits"], me["totalCalls"], me["successfulCalls"]) == (1, 3, 2)

    if how == "stopped":
        own_postgres.start()
    else:
        own_postgres.thaw()
    for call_id in calls:
        log_row(own_database, call_id)
        check_events(sink.events(call_id))
    wait_until(
        lambda: own_database.query(
            "SELECT credits, total_calls, successful_calls,"
            " (SELECT count(*) FROM credit_ledger WHERE kind = 'charge'),"
            " (SELECT count(*) FROM recordings) FROM api_keys"
        )
        == [(1, 3, 2, 2, 2)],
        "the ledger to drain",
        60,
    )
    kaphila.wait_ready()
    assert pids(kaphila) == before
    me = client.get("/api/me").json()["apiKey"]
    assert (me["credits"], me["totalCalls"], me["successfulCalls"]) == (1, 3, 2)
    refused(kaphila.api("ak_" + "1" * 32).get("/api/me"), 401, "UNAUTHORIZED")


def test_the_ledger_survives_a_restart_without_postgres(
    own_postgres, own_database, asterisk, make_kaphila, sink
):
    """What was owed is still owed after all processes were killed."""
    kaphila = make_kaphila(asterisk.media, own_database, FAST)
    client = kaphila.client(credits=2)
    assert client.get("/api/me").status_code == 200
    own_postgres.stop()
    call_id = placed(client, sink, "08")
    sink.wait(call_id, "recording.completed")

    kaphila.kill()
    kaphila.start(wait_ready=False)
    wait_children(kaphila)
    wait_missing(kaphila, "postgresql")
    # The cached key serves on, after a restart too.
    me = client.get("/api/me")
    assert me.status_code == 200
    assert me.json()["apiKey"]["credits"] == 1
    own_postgres.start()
    assert log_row(own_database, call_id)[0] == "completed"
    wait_until(
        lambda: own_database.query(
            "SELECT credits, (SELECT count(*) FROM credit_ledger"
            " WHERE kind = 'charge') FROM api_keys"
        )
        == [(1, 1)],
        "the charge",
    )


# --- Asterisk ---


def test_asterisk_away_at_start(own_asterisk, database, make_kaphila, sink):
    """503 TELEPHONY_UNAVAILABLE at once, nothing held; then it goes on."""
    own_asterisk.media.stop()
    kaphila = make_kaphila(own_asterisk.media, database, FAST, start=False)
    client = kaphila.client(credits=1)
    kaphila.start(wait_ready=False)
    wait_children(kaphila)
    wait_missing(kaphila, "asterisk")
    before = pids(kaphila)

    for _ in range(3):
        response = client.post(
            "/makecall",
            json={"number": number("08"), "webhookUrl": sink.url},
        )
        body = refused(response, 503, "TELEPHONY_UNAVAILABLE")
        assert "callId" not in body
    assert client.get("/calls").json()["calls"] == []
    assert client.get("/api/me").json()["apiKey"]["totalCalls"] == 0

    own_asterisk.media.restart()
    kaphila.wait_ready()
    whole_call(kaphila, client, sink, database)
    assert pids(kaphila) == before
    assert len({event["callId"] for event in sink.events()}) == 1


def test_asterisk_killed_in_the_middle(
    own_asterisk, database, make_kaphila, sink
):
    """Its calls end as media_server_lost, once; the next ones are made."""
    kaphila = make_kaphila(own_asterisk.media, database, FAST)
    client = kaphila.client(credits=5)
    before = pids(kaphila)
    answered = [placed(client, sink, "10") for _ in range(2)]
    ringing = placed(client, sink, "04")
    for call_id in answered:
        sink.wait(call_id, "recording.started")
    sink.wait(ringing, "call.ringing")

    own_asterisk.media.kill()
    wait_missing(kaphila, "asterisk")
    refused(
        client.post("/makecall", json={"number": number("08")}),
        503,
        "TELEPHONY_UNAVAILABLE",
    )
    assert client.get("/calls").json()["totalCalls"] == 3
    own_asterisk.media.restart()

    for call_id, status in (
        (answered[0], "completed"),
        (answered[1], "completed"),
        (ringing, "failed"),
    ):
        ended = sink.wait(call_id, "call.ended")
        assert (ended["status"], ended["endReason"]) == (
            status,
            "media_server_lost",
        )
        assert ended["wasAnswered"] is (status == "completed")
        assert log_row(database, call_id)[:2] == (status, "media_server_lost")
    kaphila.wait_ready()
    whole_call(kaphila, client, sink, database)
    assert client.get("/calls").json()["calls"] == []
    assert pids(kaphila) == before
    for call_id in (*answered, ringing):
        check_events(sink.events(call_id))
    wait_until(
        lambda: database.query("SELECT credits FROM api_keys") == [(2,)],
        "three charges",
    )


def test_recording_of_an_asterisk_that_was_killed(
    own_asterisk, database, make_kaphila, sink
):
    """What it had written of a recording is never thrown away: its header was
    never finished, so it is set aside in the store."""
    kaphila = make_kaphila(
        own_asterisk.media, database, {**FAST, "recorder.give_up_s": 1}
    )
    kaphila.allow_errors("recording")
    client = kaphila.client()
    call_id = placed(client, sink, "02")
    started = sink.wait(call_id, "recording.started")
    file = own_asterisk.media.recording_dir / started["filename"]
    wait_until(
        lambda: file.exists() and file.stat().st_size > 20000,
        "a second of recording",
    )
    own_asterisk.media.kill()
    written = file.stat().st_size
    own_asterisk.media.restart()
    sink.wait(call_id, "call.ended")
    # Nothing tells that no more will come: it is taken over after 30 s.
    stored = wait_until(
        lambda: list(
            kaphila.recordings_dir.rglob(f"{started['recordingId']}*")
        ),
        "the file in the store",
        90,
    )
    assert [path.stat().st_size for path in stored] == [written]
    assert not file.exists()
    assert client.get("/calls").json()["calls"] == []
    check_events(sink.events(call_id))


def test_a_moment_without_asterisk(own_asterisk, database, make_kaphila, sink):
    """Frozen, but not for so long that it counts as dead: calls go on."""
    slow = {**FAST, "asterisk.ping_interval_ms": 10000}
    kaphila = make_kaphila(own_asterisk.media, database, slow)
    client = kaphila.client()
    call_id = placed(client, sink, "10")
    sink.wait(call_id, "recording.started")
    own_asterisk.media.freeze()
    assert client.get(f"/calls/{call_id}").json()["status"] == "answered"
    assert client.post("/hangup", json={"callId": call_id}).status_code == 200
    assert "call.ended" not in sink.kinds(call_id)
    own_asterisk.media.thaw()
    assert sink.wait(call_id, "call.ended")["endReason"] == "api_hangup"
    sink.wait(call_id, "recording.completed")
    check_events(sink.events(call_id))


def test_asterisk_that_declines_marks(
    own_asterisk, database, make_kaphila, sink
):
    """An Asterisk that sends no event when asked: said in the log, once; no
    call is made. Then one that does."""
    media = own_asterisk.media
    declined = media.dir / "etc" / "stasis.conf"
    declined.write_text(
        "[declined_message_types]\ndecline = ast_multi_user_event_type\n"
    )
    media.stop()
    media.restart()
    kaphila = make_kaphila(media, database, FAST, start=False)
    kaphila.allow_errors("refuses to send events when asked")
    client = kaphila.client(credits=1)
    kaphila.start(wait_ready=False)
    wait_children(kaphila)
    wait_until(
        lambda: kaphila.log_path.read_text(encoding="utf-8").count(
            "refuses to send events when asked"
        )
        == len(workers(kaphila)),
        "a word of each worker's",
        30,
    )
    refused(
        client.post("/makecall", json={"number": number("08")}),
        503,
        "TELEPHONY_UNAVAILABLE",
    )
    declined.unlink()
    media.stop()
    media.restart()
    kaphila.wait_ready()
    whole_call(kaphila, client, sink, database)


def apps(asterisk):
    """The names of the apps that Asterisk has, if it can say."""
    client = asterisk.media.ari()
    try:
        return client.app_names() or ()
    finally:
        client.close()


def workers(kaphila):
    """The names of the workers."""
    return [name for name in kaphila.children() if name.startswith("worker")]


def processed(carrier):
    """How many calls the carrier has had."""
    text = carrier.cli("core show calls")
    return int(re.search(r"(\d+) calls? processed", text)[1])


@pytest.mark.parametrize("link", ["kept", "lost"])
def test_originate_without_reply(
    own_asterisk, database, make_kaphila, sink, link
):
    """Frozen Asterisk: 503 TELEPHONY_TIMEOUT with the callId. The call is
    cleaned up, with one call.ended, whether its link held or not, and the
    phone rings once at the most."""
    settings = dict(FAST)
    if link == "kept":
        settings["asterisk.ping_interval_ms"] = 10000
    kaphila = make_kaphila(own_asterisk.media, database, settings)
    client = kaphila.client(credits=1)
    before = pids(kaphila)
    calls_before = processed(own_asterisk.carrier)

    own_asterisk.media.freeze()
    response = client.post(
        "/makecall", json={"number": number("01"), "webhookUrl": sink.url}
    )
    body = refused(response, 503, "TELEPHONY_TIMEOUT")
    call_id = body["callId"]
    assert set(body) == {"success", "error", "code", "callId"}
    if link == "lost":
        wait_missing(kaphila, "asterisk")
        refused(
            kaphila.client(name="other").post(
                "/makecall", json={"number": number("08")}
            ),
            503,
            "TELEPHONY_UNAVAILABLE",
        )
    own_asterisk.media.thaw()

    ended = sink.wait(call_id, "call.ended", 60)
    assert ended["status"] in ("failed", "canceled")
    assert ended["wasAnswered"] is False
    kaphila.wait_ready()
    wait_until(
        lambda: requests_empty(own_asterisk), "no channel and no bridge", 30
    )
    assert log_row(database, call_id)[0] == ended["status"]
    assert client.get(f"/calls/{call_id}").status_code == 404
    assert processed(own_asterisk.carrier) - calls_before <= 1
    kinds = sink.kinds(call_id)
    assert kinds.count("call.ended") == 1 and "call.answered" not in kinds
    if own_asterisk.media.version >= 22:
        wait_until(
            lambda: len(apps(own_asterisk)) == 3 * len(workers(kaphila)),
            lambda: f"no app of a lost connection: {apps(own_asterisk)}",
            30,
        )
    # Its credit is free for the next call.
    whole_call(kaphila, client, sink, database)
    assert sink.kinds(call_id) == kinds
    assert pids(kaphila) == before


def test_hung_up_before_asterisk_replies(
    own_asterisk, database, make_kaphila, sink
):
    """/hangup of a call whose originate is still under way."""
    slow = {
        **FAST,
        "asterisk.ping_interval_ms": 10000,
        "calls.originate_timeout_ms": 2000,
    }
    kaphila = make_kaphila(own_asterisk.media, database, slow)
    client = kaphila.client()
    own_asterisk.media.freeze()
    response = client.post(
        "/makecall", json={"number": number("04"), "webhookUrl": sink.url}
    )
    call_id = refused(response, 503, "TELEPHONY_TIMEOUT")["callId"]
    hangup = client.post("/hangup", json={"callId": call_id})
    assert hangup.status_code == 200
    own_asterisk.media.thaw()
    sink.wait(call_id, "call.ended", 60)
    wait_until(
        lambda: requests_empty(own_asterisk), "no channel and no bridge", 30
    )
    assert sink.kinds(call_id).count("call.ended") == 1
    assert log_row(database, call_id)[0] in ("canceled", "failed")


# --- webhook targets ---


def in_order(events):
    """Sequences without a gap, whatever the order of arrival."""
    numbers = sorted(event["sequence"] for event in events)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({event["eventId"] for event in events}) == len(events)


def test_target_away_from_the_start(kaphila, sink):
    """Calls don't care; everything is delivered when it is there, over a
    restart of all processes too."""
    client = kaphila.client()
    before = pids(kaphila)
    sink.down()
    calls = [placed(client, sink, digits) for digits in ("08", "03", "09")]
    wait_until(
        lambda: client.get("/calls").json()["calls"] == [], "the calls to end"
    )
    assert pids(kaphila) == before
    kaphila.kill()
    kaphila.start()
    sink.up()
    sink.wait(calls[0], "recording.completed")
    for call_id in calls:
        sink.wait(call_id, "call.ended")
    wait_until(
        lambda: [len(sink.events(call_id)) for call_id in calls] == [6, 2, 2],
        lambda: f"every event: {[sink.kinds(call_id) for call_id in calls]}",
    )
    for call_id in calls:
        in_order(sink.events(call_id))


def test_target_away_in_the_middle(kaphila, sink):
    """It goes while a call is up and comes back before its end."""
    client = kaphila.client()
    before = pids(kaphila)
    call_id = placed(client, sink, "10")
    sink.wait(call_id, "recording.started")
    sink.down()
    assert client.post("/hangup", json={"callId": call_id}).status_code == 200
    wait_until(
        lambda: client.get("/calls").json()["calls"] == [], "the call's end"
    )
    sink.up()
    sink.wait(call_id, "call.ended")
    sink.wait(call_id, "recording.completed")
    in_order(sink.events(call_id))
    assert pids(kaphila) == before


def test_target_that_fails(kaphila, sink, ports):
    """Answers of 500, and no answer in time: tried again until taken, each
    with the same body; another target is not held up by it."""
    sink.behaviour = lambda delivery: (
        200
        if first.count(delivery.event["eventId"])
        else first.append(delivery.event["eventId"]) or 500
    )
    first = []
    client = kaphila.client()
    nobody = ports.take()
    client.make_call(
        number("03"), webhookUrl=f"http://127.0.0.1:{nobody}/nobody"
    )
    call_id = placed(client, sink, "03")
    sink.wait(call_id, "call.ended")
    wait_until(
        lambda: len(sink.events(call_id)) == 2, "both events to be taken"
    )
    in_order(sink.events(call_id))
    bodies = {}
    for delivery in sink.deliveries:
        bodies.setdefault(delivery.event["eventId"], []).append(delivery.body)
        assert delivery.headers["user-agent"] == "Kaphila-API-API/2.0"
        assert delivery.headers["content-type"].startswith("application/json")
    assert {len(set(body)) for body in bodies.values()} == {1}
    assert {len(body) for body in bodies.values()} == {2}
    ports.release(nobody)


def test_target_that_is_slow(asterisk, database, make_kaphila, sink):
    """No answer in time counts as a failure, and holds up nobody else."""
    kaphila = make_kaphila(
        asterisk.media, database, {"webhook.timeout_ms": 300}
    )
    client = kaphila.client()
    gate = {"open": False}

    def behave(delivery):
        if delivery.path == "/slow":
            wait_until(lambda: gate["open"], "the gate to open", 60)
        return 200

    sink.behaviour = behave
    slow = client.make_call(
        number("03"), webhookUrl=sink.url.replace("/hook", "/slow")
    )
    other = placed(client, sink, "03")
    sink.wait(other, "call.ended")
    wait_until(
        lambda: len([d for d in sink.deliveries if d.call_id == slow]) >= 4,
        "tries of the slow one",
    )
    gate["open"] = True
    sink.wait(slow, "call.ended")
    in_order(sink.events(slow))
    in_order(sink.events(other))
