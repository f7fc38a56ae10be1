"""Processes that are killed, drained and restarted while calls are live:
nothing is lost, and nothing happens twice that must happen once."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness import paths, sanitizer
from harness.waiting import wait_until
from test_calls import check_events, log_row, number, requests_empty
from test_outages import processed


def place(kaphila, key, sink, digits, **body):
    """A call on a connection of its own, so of any worker; its id."""
    return kaphila.api(key).make_call(
        number(digits), webhookUrl=sink.url, **body
    )


def hang_up(kaphila, key, call_ids):
    """End calls by the API, on connections of their own."""
    for call_id in call_ids:
        response = kaphila.api(key).post("/hangup", json={"callId": call_id})
        assert response.status_code == 200, response.text


def slot_of(kaphila, call_id):
    """The worker that took the call, by the log."""
    return re.search(
        rf"worker\.(\d)\[\d+\] call accepted call={call_id} ",
        kaphila.log_text(),
    )[1]


def wait_whole(sink, call_id):
    """Until all events of a call that has ended are there: no gap, no repeat,
    the recording's end too where there was one."""

    def whole():
        events = sink.events(call_id)
        kinds = {event["event"] for event in events}
        count = max((event["sequence"] for event in events), default=0)
        return (
            "call.ended" in kinds
            and ("recording.started" in kinds)
            == ("recording.completed" in kinds)
            and len(events) >= count
        )

    wait_until(
        whole,
        lambda: f"{call_id}: "
        f"{[(e['sequence'], e['event']) for e in sink.events(call_id)]}",
        60,
    )
    events = sorted(sink.events(call_id), key=lambda event: event["sequence"])
    if len(events) > 1:  # else it ended before Asterisk ever had it
        check_events(events)
    return events


def wait_idle(asterisk):
    """Until the media Asterisk has no channel and no bridge."""
    wait_until(lambda: requests_empty(asterisk), "no channel and no bridge", 30)


def wait_charged(database, granted, answered):
    """Until PostgreSQL has that many charges, and the balance with them."""
    wait_until(
        lambda: database.query(
            "SELECT credits, (SELECT count(*) FROM credit_ledger"
            " WHERE kind = 'charge') FROM api_keys"
        )
        == [(granted - answered, answered)],
        lambda: f"{answered} charges: "
        f"{database.query('SELECT * FROM credit_ledger')}",
        30,
    )


def check_files(kaphila, events):
    """One file for each recording that was completed, of the size told."""
    for event in events:
        if event["event"] == "recording.completed":
            files = list(kaphila.recordings_dir.rglob(event["filename"]))
            assert [file.stat().st_size for file in files] == [event["size"]]


def test_a_worker_is_killed(kaphila, sink, database, asterisk):
    """Twice each, in the middle of calls in every state. Its successor reads
    on where it was, the other worker serves meanwhile."""
    key = kaphila.create_key()
    resumed = "event link up how=resumed"
    calls, live = [], []
    for kills, name in enumerate(
        ["worker.0", "worker.1", "worker.0", "worker.1"], 1
    ):
        live += [
            place(kaphila, key, sink, digits) for digits in ("10", "04") * 2
        ]
        calls += [
            place(kaphila, key, sink, digits) for digits in ("08", "03") * 2
        ]
        pid = kaphila.signal(name)
        # Any worker knows the calls; a connection that died is made anew.
        listed = wait_until(
            lambda: try_get(kaphila, key, "/calls"), "the list of calls"
        )
        assert set(live) <= {call["callId"] for call in listed["calls"]}
        kaphila.wait_new_pid(name, pid)
        wait_until(
            lambda n=kills: kaphila.log_text().count(resumed) == n,
            f"{kills} × {resumed}",
        )
    slots = {slot_of(kaphila, call_id) for call_id in live}
    assert slots == {"0", "1"}
    kaphila.wait_ready()

    hang_up(kaphila, key, live)
    for call_id in calls + live:
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
        assert log_row(database, call_id)[0] == events_status(events)
    for call_id in live:
        ended = sink.events(call_id, "call.ended")[0]
        assert ended["endReason"] == "api_hangup"
    answered = len(sink.events(kind="call.answered"))
    assert answered == 16
    wait_charged(database, 1000, answered)
    wait_idle(asterisk)
    assert kaphila.api(key).get("/calls").json()["calls"] == []
    # Asterisk never saw a disconnect, so nothing had to be reconciled.
    assert "reconciled a call" not in kaphila.log_text()


def test_workers_are_killed_under_traffic(kaphila, sink, database, asterisk):
    """A worker may die between an originate and its reply: such a call has its
    one end too, and no phone rings twice."""
    key = kaphila.create_key()
    dialled_before = processed(asterisk.carrier)
    over = threading.Event()

    def place_on(first):
        for i in itertools.count(first):
            if over.is_set():
                return
            try:
                place(kaphila, key, sink, ("10", "03", "04", "08")[i % 4])
            except requests.RequestException:
                pass  # its worker is gone; the call may be there or not
            except AssertionError as error:
                if "TELEPHONY_UNAVAILABLE" not in str(error):
                    raise
            over.wait(0.03)

    with ThreadPoolExecutor(3) as pool:
        placing = [pool.submit(place_on, i) for i in range(3)]
        try:
            for i in range(12):
                name = f"worker.{i % 2}"
                kaphila.wait_new_pid(name, kaphila.signal(name))
                wait_until(
                    lambda n=i: kaphila.log_text().count("call accepted")
                    > 8 * (n + 1),
                    "more calls",
                )
        finally:
            over.set()
    for one in placing:
        one.result()

    kaphila.wait_ready()
    client = kaphila.api(key)
    for call in client.get("/calls").json()["calls"]:
        client.post("/hangup", json={"callId": call["callId"]})
    wait_until(
        lambda: client.get("/calls").json()["calls"] == [],
        lambda: f"the calls to end: {client.get('/calls').text}",
        60,
    )
    wait_idle(asterisk)
    accepted = set(re.findall(r"call accepted call=(\S+)", kaphila.log_text()))
    answered = set()
    for call_id in {event["callId"] for event in sink.events()} | accepted:
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
        status, *_, was_answered, _, _ = log_row(database, call_id)
        assert status == events_status(events)
        if was_answered:
            answered.add(call_id)
    assert answered == {
        event["callId"] for event in sink.events(kind="call.answered")
    }
    wait_charged(database, 1000, len(answered))
    calls = database.query("SELECT count(*) FROM call_logs")[0][0]
    assert calls >= len(accepted)
    assert processed(asterisk.carrier) - dialled_before <= calls
    # What had been under way when they died is no longer: they can leave.
    assert kaphila.stop() == 0
    assert "not drained" not in kaphila.log_text()


def events_status(events):
    """The status that call.ended told."""
    return next(e["status"] for e in events if e["event"] == "call.ended")


def try_get(kaphila, key, path):
    """A GET's decoded answer, or None while nobody answers."""
    try:
        response = kaphila.api(key).get(path, timeout=5)
    except requests.RequestException:
        return None
    assert response.status_code == 200, response.text
    return response.json()


def test_webhookd_and_recorder_are_killed(kaphila, sink, database):
    """Over and over while they work: each event and each recording is there
    in the end, at least once, without a gap."""
    key = kaphila.create_key()
    calls = []
    for turn in range(4):
        calls += [place(kaphila, key, sink, "08") for _ in range(4)]
        calls.append(place(kaphila, key, sink, "03"))
        for name in ("webhookd", "recorder"):
            before = len(sink.deliveries)
            pid = kaphila.signal(name)
            kaphila.wait_new_pid(name, pid)
            if turn < 3 and name == "webhookd":
                wait_until(
                    lambda n=before: len(sink.deliveries) > n,
                    "the new webhookd's first delivery",
                )
    for call_id in calls:
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
    assert len(sink.events(kind="recording.completed")) == 16
    wait_until(
        lambda: database.query("SELECT count(*) FROM recordings") == [(16,)],
        "the recordings' rows",
    )
    wait_charged(database, 1000, 16)
    # What came twice is the same both times.
    bodies = {}
    for delivery in sink.deliveries:
        bodies.setdefault(delivery.event["eventId"], set()).add(delivery.body)
    assert all(len(body) == 1 for body in bodies.values())


def test_everything_is_killed_while_deliveries_wait(kaphila, sink, database):
    """The target is away, a worker, webhookd and recorder die, then the
    master: the queues are still there."""
    key = kaphila.create_key()
    sink.down()
    calls = [place(kaphila, key, sink, digits) for digits in ("08", "03", "09")]
    for name in ("recorder", "webhookd", "worker.0", "worker.1"):
        kaphila.signal(name)
    kaphila.kill()
    kaphila.start()
    wait_until(
        lambda: kaphila.api(key).get("/calls").json()["calls"] == [],
        "the calls to end",
        60,
    )
    sink.up()
    for call_id in calls:
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
        assert log_row(database, call_id)[0] == events_status(events)


def test_the_master_is_killed(kaphila, sink, database, asterisk):
    """Its children leave; a new one goes on with the live calls."""
    key = kaphila.create_key()
    talks = place(kaphila, key, sink, "10")
    rings = place(kaphila, key, sink, "04")
    ends = place(kaphila, key, sink, "10")
    for call_id in (talks, ends):
        sink.wait(call_id, "recording.started")
    sink.wait(rings, "call.ringing")
    before = kaphila.children()

    kaphila.kill()  # waits until the children have left
    assert not any(
        paths.process_lives(child["pid"]) for child in before.values()
    )
    with pytest.raises(requests.ConnectionError):
        kaphila.api(key).get("/health")
    # Meanwhile one of them ends, and nobody sees it.
    ari = asterisk.media.ari()
    assert ari.request("DELETE", f"channels/{ends}").ok
    wait_until(
        lambda: ends not in {one["id"] for one in ari.get("channels")},
        "the end of the channel",
    )
    ari.close()
    kaphila.start()

    client = kaphila.api(key)
    ended = sink.wait(ends, "call.ended")
    assert (ended["status"], ended["endReason"]) == ("completed", "lost")
    shown = client.get(f"/calls/{talks}").json()
    assert shown["status"] == "answered" and shown["hasBridge"] is True
    assert client.get(f"/calls/{rings}").json()["status"] == "ringing"
    assert client.get("/calls").json()["totalCalls"] == 2
    hang_up(kaphila, key, [talks, rings])
    for call_id in (talks, rings):
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
        ended = sink.events(call_id, "call.ended")[0]
        assert ended["endReason"] == "api_hangup"
    wait_whole(sink, ends)
    wait_charged(database, 1000, 2)
    wait_idle(asterisk)


def test_a_restart_in_good_order(kaphila, sink, database):
    """SIGTERM: exit status 0, children gone, open connections closed in good
    order; live calls are not touched, and go on with the next master."""
    key = kaphila.create_key()
    talks = place(kaphila, key, sink, "10")
    sink.wait(talks, "recording.started")
    before = kaphila.children()
    held = kaphila.api(key)  # a connection that stays open
    assert held.get("/api/me").status_code == 200
    host, _, port = kaphila.base_url.rpartition("//")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as idle:
        idle.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert kaphila.stop() == 0
        assert idle.recv(1) == b""
    assert not any(
        paths.process_lives(child["pid"]) for child in before.values()
    )
    log = kaphila.log_text()
    for child in before.values():
        assert re.search(
            rf"child is gone .*child_pid={child['pid']} .*left: drained", log
        ), f"no drained end of {child}"

    kaphila.start()
    assert held.get(f"/calls/{talks}").json()["status"] == "answered"
    assert "call.ended" not in sink.kinds(talks)
    hang_up(kaphila, key, [talks])
    events = wait_whole(sink, talks)
    check_files(kaphila, events)
    assert log_row(database, talks)[0] == "completed"
    wait_charged(database, 1000, 1)


def test_a_drain_answers_what_is_under_way(
    own_asterisk, database, make_kaphila, sink
):
    """A /makecall that waits for Asterisk's reply gets its answer although
    the master was told to end."""
    kaphila = make_kaphila(
        own_asterisk.media,
        database,
        {
            "calls.originate_timeout_ms": 2000,
            "asterisk.ping_interval_ms": 10000,
        },
    )
    key = kaphila.create_key()
    own_asterisk.media.freeze()
    host, _, port = kaphila.base_url.rpartition("//")[2].partition(":")
    body = json.dumps({"number": number("03"), "webhookUrl": sink.url})
    with socket.create_connection((host, int(port)), timeout=60) as asking:
        asking.sendall(
            f"POST /makecall HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        kaphila.wait_log("call accepted")
        os.kill(kaphila.pid(), signal.SIGTERM)
        kaphila.wait_log("draining")
        own_asterisk.media.thaw()
        got = b""
        while piece := asking.recv(65536):
            got += piece
    assert got.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")), got
    assert kaphila.stop() == 0
    call_id = json.loads(got.partition(b"\r\n\r\n")[2])["callId"]
    kaphila.start()
    ended = sink.wait(call_id, "call.ended", 60)
    assert ended["wasAnswered"] is False
    assert sink.kinds(call_id).count("call.ended") == 1


def test_a_child_that_is_stopped_is_replaced(
    asterisk, database, make_kaphila, sink
):
    """SIGSTOP: no handler can run, so the watchdog has to end it."""
    kaphila = make_kaphila(
        asterisk.media, database, {"supervision.heartbeat_timeout_s": 4}
    )
    key = kaphila.create_key()
    live = place(kaphila, key, sink, "10")
    sink.wait(live, "recording.started")
    name = f"worker.{slot_of(kaphila, live)}"
    pid = kaphila.signal(name, signal.SIGSTOP)
    kaphila.wait_new_pid(name, pid)
    assert not paths.process_lives(pid)
    shown = wait_until(
        lambda: try_get(kaphila, key, f"/calls/{live}"), "an answer"
    )
    assert shown["status"] == "answered"
    hang_up(kaphila, key, [live])
    wait_whole(sink, live)
    wait_charged(database, 1000, 1)


def ctl_plain(kaphila, *args, env=None):
    """kaphilactl as a person runs it; the finished process."""
    return subprocess.run(
        [paths.CTL, *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**sanitizer.environment(kaphila.sanitizer_dir), **(env or {})},
    )


def test_kaphilactl_status(kaphila, tmp_path):
    """What it shows, how it finds the master, and its exit codes."""
    status = kaphila.status()
    assert status["ok"] is True
    assert status["master"]["pid"] == kaphila.pid()
    assert status["master"]["draining"] is False
    assert status["master"]["runDir"] == str(kaphila.run_dir)
    roles = [(child["role"], child["slot"]) for child in status["children"]]
    assert sorted(roles) == [
        ("recorder", 0),
        ("webhookd", 0),
        ("worker", 0),
        ("worker", 1),
    ]
    for child in status["children"]:
        assert child["state"] == "ready" and child["restarts"] == 0
        assert child["generation"] == 1 and paths.process_lives(child["pid"])
        assert child["uptimeMs"] > 0 and child["heartbeatAgeMs"] >= 0

    config = ("--config", str(kaphila.config_path))
    by_env = {"KAPHILA_RUN_DIR": str(kaphila.run_dir)}
    for found in (
        ctl_plain(kaphila, *config, "status"),
        ctl_plain(kaphila, "status", env=by_env),
    ):
        assert found.returncode == 0, found.stderr
        assert str(kaphila.pid()) in found.stdout and found.stderr == ""
        for child in status["children"]:
            assert re.search(
                rf"^{child['role']}\s+{child['slot']}\s+{child['pid']}\s+ready",
                found.stdout,
                re.M,
            )
    for wrong in (("status", "x"), ("nothing",), ("keys", "nothing"), ()):
        done = ctl_plain(kaphila, *config, *wrong)
        assert done.returncode == 2, (wrong, done)
        assert done.stderr
    missing = ctl_plain(kaphila, "--config", str(tmp_path / "no"), "status")
    assert missing.returncode not in (0, 3) and missing.stderr

    pid = kaphila.signal("webhookd")
    kaphila.wait_new_pid("webhookd", pid)
    child = kaphila.children()["webhookd"]
    assert (child["restarts"], child["generation"]) == (1, 2)
    assert "killed" in child["lastExit"].lower()

    kaphila.stop()
    gone = ctl_plain(kaphila, *config, "status")
    assert gone.returncode == 3 and gone.stderr and gone.stdout == ""
    kaphila.start()
    kaphila.kill()
    gone = ctl_plain(kaphila, *config, "--json", "status")
    assert gone.returncode == 3 and gone.stderr and gone.stdout == ""


def test_check_config_knows_the_connection_string(kaphila, tmp_path):
    """What the workers would refuse at their start, --check-config tells."""
    text = kaphila.config_path.read_text(encoding="utf-8")
    for dsn, code in ((kaphila.database.url, 0), ("host=db.example", 1), ("bogus://x", 1)):
        config = tmp_path / "check.conf"
        config.write_text(text.replace(kaphila.database.url, dsn), encoding="utf-8")
        done = subprocess.run(
            [paths.MASTER, "--check-config", "--config", config],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False,
            env=sanitizer.environment(kaphila.sanitizer_dir),
        )
        assert done.returncode == code, done.stderr
        assert ("postgres.dsn" in done.stderr) == (code == 1)


def start_another(kaphila, config):
    """Another master beside kaphila's, which must not run; what it said."""
    done = subprocess.run(
        [paths.MASTER, "--config", config],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=sanitizer.environment(kaphila.sanitizer_dir),
    )
    assert done.returncode not in (0, None)
    return done.stderr


@pytest.mark.parametrize("name", ["worker.0", "webhookd", "recorder"])
def test_the_master_is_killed_beside_a_stopped_child(kaphila, sink, name):
    """Nobody is there any more to end that one: it goes on, and leaves."""
    key = kaphila.create_key()
    call_id = place(kaphila, key, sink, "10")
    sink.wait(call_id, "recording.started")
    before = kaphila.children()
    stopped, master = kaphila.pid(name), kaphila.pid()
    kaphila.allow_restarts()
    os.kill(stopped, signal.SIGSTOP)
    os.kill(master, signal.SIGKILL)
    kaphila.kill()
    wait_until(
        lambda: not any(
            paths.process_lives(child["pid"]) for child in before.values()
        ),
        "the children to leave",
        60,
    )
    kaphila.start()
    kaphila.api(key).hangup(call_id)
    sink.wait(call_id, "recording.completed")


def test_a_second_master_is_refused(kaphila, ports, tmp_path):
    """On the same run directory, and on the same data directory with all
    else its own; the first one serves on."""
    said = start_another(kaphila, kaphila.config_path)
    assert f"another master (pid {kaphila.pid()})" in said
    other = tmp_path / "other.conf"
    text = kaphila.config_path.read_text(encoding="utf-8")
    for mine in (str(kaphila.run_dir), kaphila.base_url[7:], kaphila.admin_url[7:]):
        assert mine in text
    text = text.replace(str(kaphila.run_dir), str(tmp_path / "other-run"))
    for mine in (kaphila.base_url[7:], kaphila.admin_url[7:]):
        text = text.replace(mine, f"127.0.0.1:{ports.take()}")
    other.write_text(text, encoding="utf-8")
    said = start_another(kaphila, other)
    assert f"another master uses {kaphila.data_dir}" in said
    assert kaphila.api().get("/health").status_code == 200
    assert kaphila.status()["master"]["pid"] == kaphila.pid()
