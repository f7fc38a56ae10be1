"""Another number of workers while calls are live and requests come: no request
fails, no call notices."""

import re
import time

from harness import invariants
from harness.keepalive import KeepAlive
from harness.waiting import wait_until
from test_calls import number
from test_processes import check_files, wait_charged, wait_idle, wait_whole


def operation_steps(kaphila, *command):
    """Run a kaphilactl command that waits for its operation; the steps."""
    done = kaphila.ctl(*command)
    assert done["done"] is True and done["failed"] is False, done
    return [step["text"] for step in done["steps"]]


def wait_streams(kaphila, expected):
    """Until status shows these streams as read: {slot: reader}."""

    def shown():
        return {
            stream["slot"]: stream.get("reader")
            for stream in kaphila.status()["streams"]
            if stream["settled"]
        }

    wait_until(
        lambda: shown() == expected,
        lambda: f"{expected}: {kaphila.status()['streams']}",
        30,
    )


def talk_on_each(kaphila, key, sink, talks, workers):
    """Place one call that talks on; True when each worker has one, in
    `talks`, {slot: call id}, and each is recorded."""
    call_id = kaphila.api(key).make_call(number("10"), webhookUrl=sink.url)
    slot = re.search(
        rf"worker\.(\d)\[\d+\] call accepted call={call_id} ",
        kaphila.log_text(),
    )[1]
    if slot in talks:
        kaphila.api(key).post("/hangup", json={"callId": call_id})
        return False
    talks[slot] = call_id
    sink.wait(call_id, "recording.started")
    return len(talks) == workers


def test_scaling_under_traffic(asterisk, database, make_kaphila, sink):
    """2 to 4 to 1 to 2, with a talk begun on each of the four: whoever reads
    its events then, it goes on and has its end and its recording."""
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_restarts()
    key = kaphila.create_key(credits=100000)
    load = KeepAlive(
        kaphila.base_url,
        key,
        sink.url,
        rate=40,
        calls=4,
        number=lambda n: number(("08", "03")[n % 2]),
    )
    load.start()
    time.sleep(1)
    operation_steps(kaphila, "scale", "workers", 4)
    assert kaphila.status()["master"]["workers"] == 4
    wait_streams(kaphila, {n: n for n in range(4)})

    talks = {}
    wait_until(
        lambda: talk_on_each(kaphila, key, sink, talks, 4),
        "a talk on each worker",
        60,
    )

    operation_steps(kaphila, "scale", "workers", 1)
    wait_streams(kaphila, {n: 0 for n in range(4)})
    children = kaphila.children()
    assert "worker.1" not in children and "worker.3" not in children
    client = kaphila.api(key)
    for slot, call_id in talks.items():
        shown = client.get(f"/calls/{call_id}").json()
        assert shown["status"] == "answered", (slot, shown)
    # One ends by itself, one by the API: nobody of their workers is there.
    ari = asterisk.media.ari()
    assert ari.request("DELETE", f"channels/{talks['3']}").ok
    ari.close()
    client.post("/hangup", json={"callId": talks["1"]})
    for slot in ("1", "3"):
        wait_whole(sink, talks[slot])
    # Its only reader dies, and is started in good order: both go on.
    pid = kaphila.signal("worker.0")
    kaphila.wait_new_pid("worker.0", pid)
    operation_steps(kaphila, "restart", "worker", 0)

    operation_steps(kaphila, "scale", "workers", 2)
    figures = load.stop()
    for slot in ("0", "2"):
        client.post("/hangup", json={"callId": talks[slot]})
    for call_id in [*talks.values(), *figures.calls]:
        events = wait_whole(sink, call_id)
        check_files(kaphila, events)
    # The killed worker took some connections with it; else nothing failed.
    killed = [line for line in figures.failures if "Error" not in line]
    assert not killed, figures.failures
    # Streams that nobody needs any more are forgotten.
    wait_streams(kaphila, {0: 0, 1: 1})
    assert kaphila.log_text().count("ending a child") == 0
    wait_charged(database, 100000, len(sink.events(kind="call.answered")))
    invariants.wait_settled(kaphila)
    wait_idle(asterisk)


def test_scaling_without_a_death(asterisk, database, make_kaphila, sink):
    """Up and down again and again: no request fails, at all."""
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_restarts()
    key = kaphila.create_key(credits=100000)
    load = KeepAlive(
        kaphila.base_url,
        key,
        sink.url,
        rate=60,
        calls=3,
        number=lambda n: number("03"),
    )
    load.start()
    for workers in (3, 1, 2):
        operation_steps(kaphila, "scale", "workers", workers)
    steps = operation_steps(kaphila, "restart", "all")
    figures = load.stop()
    assert not figures.failures
    assert [s for s in steps if s.startswith("webhookd: pid")]
    for call_id in figures.calls:
        wait_whole(sink, call_id)
    assert "ending a child" not in kaphila.log_text()


def test_a_start_with_fewer_workers(asterisk, database, make_kaphila, sink):
    """Calls of slots that are no more are found in the table, and their
    events are read, until they have ended."""
    kaphila = make_kaphila(asterisk.media, database, {"http.workers": 3})
    key = kaphila.create_key()
    talks = {}
    wait_until(
        lambda: talk_on_each(kaphila, key, sink, talks, 3),
        "a talk on each worker",
        60,
    )
    assert kaphila.stop() == 0
    kaphila.write_config(http__workers=1)
    kaphila.start()
    wait_streams(kaphila, {n: 0 for n in range(3)})
    client = kaphila.api(key)
    for call_id in talks.values():
        assert client.get(f"/calls/{call_id}").json()["status"] == "answered"
        client.post("/hangup", json={"callId": call_id})
    for call_id in talks.values():
        check_files(kaphila, wait_whole(sink, call_id))
        assert sink.kinds(call_id).count("call.ended") == 1
    wait_streams(kaphila, {0: 0})
    wait_charged(database, 1000, len(sink.events(kind="call.answered")))
    wait_idle(asterisk)
