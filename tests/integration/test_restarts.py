"""Planned restarts, scaling and pausing while calls are live: calls go on, no
request fails, every event comes once and in order; also when one of the two
processes of a slot, or both, are killed on the way."""

import os
import re
import signal
import time

import pytest
from harness import paths
from harness.ari import Ari
from harness.keepalive import KeepAlive
from harness.waiting import wait_until
from test_calls import number
from test_processes import (
    check_files,
    hang_up,
    place,
    slot_of,
    wait_charged,
    wait_idle,
    wait_whole,
)

RESUMED = "event link up how=resumed"
NEW = "event link up how=new"


def place_on_slots(kaphila, key, sink, slots, digits="10", each=2):
    """Live calls of every one of the slots; {slot: [call ids]}."""
    calls = {slot: [] for slot in slots}

    def enough():
        return all(len(found) >= each for found in calls.values())

    for _ in range(200):
        if enough():
            break
        call_id = place(kaphila, key, sink, digits)
        slot = int(slot_of(kaphila, call_id))
        calls.setdefault(slot, []).append(call_id)
    assert enough(), calls
    for found in calls.values():
        for call_id in found:
            sink.wait(call_id, "recording.started")
    return calls


def check_once(sink, call_ids):
    """Each event of these calls was delivered once, and in order."""
    for call_id in call_ids:
        numbers = [
            delivery.event["sequence"]
            for delivery in list(sink.deliveries)
            if delivery.call_id == call_id
        ]
        assert numbers == list(range(1, len(numbers) + 1)), (call_id, numbers)


def end_all(kaphila, key, sink, asterisk, call_ids):
    """Hang the calls up; everything about each of them is as it must be."""
    hang_up(kaphila, key, call_ids)
    for call_id in call_ids:
        check_files(kaphila, wait_whole(sink, call_id))
        ended = sink.events(call_id, "call.ended")[0]
        assert ended["endReason"] == "api_hangup", ended
    check_once(sink, call_ids)
    wait_idle(asterisk)


def lines(kaphila, pattern):
    """How many lines of the log match."""
    return len(re.findall(pattern, kaphila.log_text()))


def wait_lines(kaphila, pattern, count):
    """Until that many lines match."""
    wait_until(
        lambda: lines(kaphila, pattern) >= count, f"{count} × {pattern!r}", 60
    )


def wait_gone(pid):
    """Until a process has ended."""
    wait_until(lambda: not paths.process_lives(pid), f"{pid} to end", 60)


def successor_of(kaphila, name, old, beside=True):
    """The pid of the process that was started in the place of `old`."""
    role, _, slot = name.partition(".")
    pattern = (
        rf"started child={role} slot={slot or 0} child_pid=(\d+) "
        rf"generation=\d+ beside={'[1-9]' if beside else '0'}"
    )

    def find():
        pids = [int(pid) for pid in re.findall(pattern, kaphila.log_text())]
        return pids[-1] if pids and pids[-1] != old else None

    return wait_until(find, f"a successor of {name}", 30, 0.002)


# --- one restart ---


def test_hup_of_a_worker(kaphila, sink, database, asterisk):
    """Its calls go on with the successor, over the same event socket; the old
    one leaves by itself, told so by nobody's reset."""
    key = kaphila.create_key()
    calls = place_on_slots(kaphila, key, sink, (0, 1))
    live = [call_id for found in calls.values() for call_id in found]
    held = kaphila.api(key)  # a connection that stays open
    assert held.get("/calls").json()["totalCalls"] == len(live)
    for restarts, name in enumerate(("worker.0", "worker.1"), 1):
        old = kaphila.signal(name, signal.SIGHUP)
        new = kaphila.wait_new_pid(name, old)
        assert new != old
        wait_lines(kaphila, RESUMED, restarts)
        assert held.get("/calls").json()["totalCalls"] == len(live)
        held.get("/health")  # both workers' connections see a request
        kaphila.wait_log(rf"child is gone .*child_pid={old} .*left: drained")
        live.append(place(kaphila, key, sink, "10"))
    kaphila.wait_ready()
    end_all(kaphila, key, sink, asterisk, live)
    wait_charged(database, 1000, len(live))
    text = kaphila.log_text()
    assert text.count(NEW) == 2  # one for each slot, at the start
    assert "reconciled a call" not in text  # nothing was missed
    assert "leaving unfinished" not in text


def test_hup_of_a_process_that_starts(kaphila):
    """It can't hear the signal yet, and doesn't die of it."""
    old = kaphila.signal("worker.0", signal.SIGHUP)
    new = successor_of(kaphila, "worker.0", old)
    for _ in range(20):
        os.kill(new, signal.SIGHUP)
    kaphila.wait_log(rf"successor takes over .*child_pid={new} ")
    kaphila.wait_ready()
    assert "SIGHUP" not in kaphila.log_text()


def test_restart_of_all(kaphila, sink, database, asterisk):
    """One after the other, each replaced by its own program."""
    key = kaphila.create_key()
    calls = place_on_slots(kaphila, key, sink, (0, 1), each=1)
    before = kaphila.children()
    kaphila.allow_restarts()
    done = kaphila.ctl("restart", "all")
    assert done["done"] and not done["failed"], done
    kaphila.wait_ready()
    after = kaphila.children()
    for name, child in before.items():
        assert after[name]["pid"] != child["pid"]
        assert after[name]["generation"] == child["generation"] + 1
        wait_gone(child["pid"])
    live = [call_id for found in calls.values() for call_id in found]
    end_all(kaphila, key, sink, asterisk, live)
    wait_charged(database, 1000, len(live))


def test_hup_of_webhookd_and_recorder(kaphila, sink, database):
    """Under load: what is under way is finished by the old one, and begun by
    the new one only then. Nothing is delivered or stored twice."""
    key = kaphila.create_key()
    sink.behaviour = lambda _: time.sleep(0.05) or 200
    calls = []
    for _ in range(3):
        calls += [place(kaphila, key, sink, "08") for _ in range(6)]
        for name in ("webhookd", "recorder"):
            old = kaphila.signal(name, signal.SIGHUP)
            assert kaphila.wait_new_pid(name, old) != old
            wait_gone(old)
    for call_id in calls:
        check_files(kaphila, wait_whole(sink, call_id))
    check_once(sink, calls)
    assert len(sink.events(kind="recording.completed")) == len(calls)
    wait_until(
        lambda: database.query("SELECT count(*) FROM recordings")
        == [(len(calls),)],
        "the recordings' rows",
    )
    wait_charged(database, 1000, len(calls))
    assert kaphila.log_text().count("recording stored") == len(calls)


def test_connections_are_closed_politely(kaphila):
    """A keep-alive connection is told with its next answer; one that nobody
    uses is closed in good order, and the old process is gone soon."""
    key = kaphila.create_key()
    kaphila.allow_restarts()
    load = KeepAlive(
        kaphila.base_url,
        key,
        "",
        rate=40,
        calls=0,
        connections=8,
        idle=8,
        number=number,
    )
    load.start()
    wait_until(lambda: load.figures.requests > 40, "some requests")
    for name in ("worker.0", "worker.1"):
        old = kaphila.pid(name)
        kaphila.ctl("restart", *name.split("."))
        wait_gone(old)
    figures = load.stop()
    assert not figures.failures
    # Each connection of theirs was ended by an answer that said so.
    assert figures.connects > 16 and figures.closed_idle == 0


# --- one of the two dies ---


def restart_and_kill(kaphila, name, when, victims):
    """Ask for a restart, and kill on the way; (old pid, new pid)."""
    old = kaphila.signal(name, signal.SIGHUP)
    new = successor_of(kaphila, name, old)
    if when == "taken over":
        kaphila.wait_log(rf"successor takes over .*child_pid={new} ")
    for victim in victims:
        try:
            os.kill({"old": old, "new": new}[victim], signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was faster
    return old, new


@pytest.mark.parametrize(
    "when, victims",
    [
        ("started", ("new",)),
        ("taken over", ("new",)),
        ("taken over", ("old",)),
        ("taken over", ("old", "new")),
        ("started", ("old",)),
        ("started", ("old", "new")),
    ],
)
def test_killed_on_the_way(
    kaphila, sink, database, asterisk, when, victims
):  # pylint: disable=too-many-positional-arguments
    """The successor before it was ready and after, the old one before and
    while it leaves, both: whoever is left, or comes then, goes on."""
    key = kaphila.create_key()
    calls = place_on_slots(kaphila, key, sink, (0, 1))
    live = [call_id for found in calls.values() for call_id in found]
    old, new = restart_and_kill(kaphila, "worker.0", when, victims)
    for victim in victims:
        wait_gone({"old": old, "new": new}[victim])
    wait_until(
        lambda: kaphila.children()["worker.0"]["state"] == "ready",
        "worker 0 to be ready",
    )
    kaphila.wait_ready()
    pid = kaphila.pid("worker.0")
    if when == "started" and victims == ("new",):
        assert pid == old  # nothing was changed
    live.append(place(kaphila, key, sink, "10"))
    sink.wait(live[-1], "recording.started")
    end_all(kaphila, key, sink, asterisk, live)
    wait_charged(database, 1000, len(live))
    assert "reconciled a call" not in kaphila.log_text()


def test_killed_again_and_again(kaphila, sink, database, asterisk):
    """Restarts whose processes are killed at any moment, under calls."""
    key = kaphila.create_key()
    calls = []
    for i in range(8):
        calls += [place_anyhow(kaphila, key, sink) for _ in range(3)]
        name = f"worker.{i % 2}"
        old = kaphila.signal(name, signal.SIGHUP)
        new = successor_of(kaphila, name, old)
        time.sleep(0.05 * i)
        try:
            os.kill(new if i % 3 else old, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has left
        wait_until(
            lambda n=name: kaphila.children()[n]["state"] == "ready",
            f"{name} to be ready",
        )
        kaphila.wait_ready()
    for call_id in calls:
        if call_id is not None:
            wait_whole(sink, call_id)
    wait_idle(asterisk)
    answered = len(sink.events(kind="call.answered"))
    wait_charged(database, 1000, answered)


def place_anyhow(kaphila, key, sink):
    """A call that hangs up by itself, or None where its worker died of it."""
    try:
        return place(kaphila, key, sink, "08")
    except (OSError, AssertionError):
        return None


# --- scaling ---


def apps(asterisk, kaphila):
    """Slots whose Stasis app has a connection; None where Asterisk can't
    say."""
    client = asterisk.media.ari()
    try:
        names = client.app_names()
    finally:
        client.close()
    if names is None:
        return None
    node = kaphila.settings["node.id"]
    return {
        int(name.rpartition("-")[2])
        for name in names
        if re.fullmatch(rf"kaphila-{node}-\d+", name)
    }


def test_scale(kaphila, sink, database, asterisk):
    """2 → 4 → 1 → 2 with live calls on every slot: those of the slots that go
    are looked after by one that stays, and their apps are closed when the last
    call is over."""
    kaphila.allow_restarts()
    key = kaphila.create_key()
    two = place_on_slots(kaphila, key, sink, (0, 1))
    kaphila.ctl("scale", "workers", "4")
    kaphila.wait_ready()
    assert len([n for n in kaphila.children() if n.startswith("worker")]) == 4
    four = place_on_slots(kaphila, key, sink, (0, 1, 2, 3))
    kaphila.ctl("scale", "workers", "1")
    kaphila.wait_ready()
    assert [n for n in kaphila.children() if n.startswith("worker")] == [
        "worker.0"
    ]
    live = [c for calls in (two, four) for ids in calls.values() for c in ids]
    assert kaphila.api(key).get("/calls").json()["totalCalls"] == len(live)
    assert apps(asterisk, kaphila) == {0, 1, 2, 3}
    live.append(place(kaphila, key, sink, "10"))
    assert slot_of(kaphila, live[-1]) == "0"
    # The adopter is replaced, and killed: its adopted streams go along.
    old = kaphila.pid("worker.0")
    kaphila.ctl("restart", "worker", "0")
    wait_gone(old)
    kaphila.wait_new_pid("worker.0", kaphila.signal("worker.0"))
    kaphila.wait_ready()
    # One adopted slot gets a worker again.
    kaphila.ctl("scale", "workers", "2")
    kaphila.wait_ready()
    assert kaphila.api(key).get("/calls").json()["totalCalls"] == len(live)
    end_all(kaphila, key, sink, asterisk, live)
    wait_charged(database, 1000, len(live))
    wait_until(
        lambda: apps(asterisk, kaphila) == {0, 1},
        lambda: f"the apps to be closed: {apps(asterisk, kaphila)}",
    )
    assert "reconciled a call" not in kaphila.log_text()
    for slot in range(4):  # none was ever connected a second time
        assert lines(kaphila, rf"{NEW} slot={slot}\n") == 1, slot


def test_restart_with_fewer_workers(asterisk, database, make_kaphila, sink):
    """The node ends, and comes back with fewer workers: the calls of the slots
    that are no more go on, and one that ended meanwhile is told of."""
    kaphila = make_kaphila(asterisk.media, database, {"http.workers": 3})
    key = kaphila.create_key()
    calls = place_on_slots(kaphila, key, sink, (0, 1, 2))
    live = [call_id for found in calls.values() for call_id in found]
    gone = calls[2][0]
    assert kaphila.stop() == 0
    client = asterisk.media.ari()
    assert client.request("DELETE", f"channels/{gone}").ok
    client.close()
    kaphila.write_config(http__workers=1)
    kaphila.start()
    assert sink.wait(gone, "call.ended")["endReason"] == "lost"
    live.remove(gone)
    kaphila.wait_log(f"{NEW} slot=2")
    end_all(kaphila, key, sink, asterisk, live)
    wait_whole(sink, gone)
    wait_charged(database, 1000, len(live) + 1)
    wait_until(
        lambda: apps(asterisk, kaphila) == {0}, "the other apps to be closed"
    )


# --- pausing ---


def test_pause(kaphila, sink, database, asterisk):
    """No new calls, while the live ones go on; also over a restart."""
    key = kaphila.create_key()
    live = place(kaphila, key, sink, "10")
    sink.wait(live, "recording.started")
    kaphila.ctl("drain")
    client = kaphila.api(key)
    kaphila.allow_restarts()
    for restart in (False, True):
        if restart:
            kaphila.ctl("restart", "worker", "0")
            kaphila.ctl("restart", "worker", "1")
        refused = client.post("/makecall", json={"number": number("10")})
        assert refused.status_code == 503
        assert refused.json()["code"] == "DRAINING"
        assert int(refused.headers["Retry-After"]) > 0
        ready = kaphila.admin("/ready")
        assert ready.status_code == 503
        assert ready.json()["missing"] == ["draining"]
        assert client.get("/health").status_code == 200
        assert client.get(f"/calls/{live}").json()["status"] == "answered"
    kaphila.ctl("resume")
    assert kaphila.admin("/ready").status_code == 200
    again = place(kaphila, key, sink, "10")
    end_all(kaphila, key, sink, asterisk, [live, again])
    wait_charged(database, 1000, 2)


# --- what was lost in between ---


def test_killed_before_a_restart_of_asterisk_is_settled(
    own_asterisk, database, make_kaphila, sink, tmp_path
):  # pylint: disable=too-many-positional-arguments
    """A worker that dies between seeing the new Asterisk and ending the old
    one's calls: they end as what they are."""
    armed = tmp_path / "armed"
    armed.mkdir()
    os.environ["KAPHILA_CRASH_DIR"] = str(armed)
    try:
        kaphila = make_kaphila(
            own_asterisk.media, database, {"http.workers": 1}
        )
    finally:
        del os.environ["KAPHILA_CRASH_DIR"]
    kaphila.allow_restarts()
    key = kaphila.create_key()
    call_id = place(kaphila, key, sink, "10")
    sink.wait(call_id, "recording.started")
    kaphila.wait_log("reconciled with asterisk")
    (armed / "worker.reconcile_listed").touch()
    own_asterisk.media.kill()
    own_asterisk.media.restart()
    kaphila.wait_log("ended with status 86")
    ended = sink.wait(call_id, "call.ended", 60)
    assert (ended["status"], ended["endReason"]) == (
        "completed",
        "media_server_lost",
    )


def test_a_stranger_takes_the_app(own_asterisk, database, make_kaphila, sink):
    """A second program with the app's name: it is told loudly, and the app is
    taken back after a while; the calls are brought in line."""
    kaphila = make_kaphila(own_asterisk.media, database, {"http.workers": 1})
    kaphila.allow_errors("another program has taken the Stasis app over")
    key = kaphila.create_key()
    talks, ends = (place(kaphila, key, sink, "10") for _ in range(2))
    for call_id in (talks, ends):
        sink.wait(call_id, "recording.started")
    media = own_asterisk.media
    stranger = Ari(media.url, media.user, media.password)
    stranger.listen(f"kaphila-{kaphila.settings['node.id']}-0")
    kaphila.wait_log("another program has taken the Stasis app over")
    assert stranger.request("DELETE", f"channels/{ends}").ok
    ended = sink.wait(ends, "call.ended", 60)
    assert ended["status"] == "completed"
    wait_lines(kaphila, NEW, 2)
    end_all(kaphila, key, sink, own_asterisk, [talks])
    stranger.close()
    assert lines(kaphila, "taken the Stasis app over") == 1


# --- the proof, small; tests/load/restarts.py has it whole ---


def test_restarts_under_load(asterisk, database, make_kaphila, sink):
    """Four restarts of single workers under requests and calls on keep-alive
    connections: no failed request, every event once, in order."""
    kaphila = make_kaphila(asterisk.media, database, {"log.level": "info"})
    kaphila.allow_restarts()
    key = kaphila.create_key(credits=100000)
    load = KeepAlive(
        kaphila.base_url,
        key,
        sink.url,
        rate=60,
        calls=5,
        number=lambda _: number("08"),
    )
    load.start()
    wait_until(lambda: len(load.figures.calls) > 5, "the first calls")
    for i in range(4):
        old = kaphila.pid(f"worker.{i % 2}")
        done = kaphila.ctl("restart", "worker", i % 2)
        assert done["done"] and not done["failed"], done
        wait_gone(old)
    figures = load.stop()
    assert not figures.failures
    for call_id in figures.calls:
        wait_whole(sink, call_id)
    check_once(sink, figures.calls)
    wait_idle(asterisk)
    answered = len(sink.events(kind="call.answered"))
    assert answered == len(figures.calls)
    wait_charged(database, 100000, answered)
    assert "leaving unfinished" not in kaphila.log_text()
