"""Children that hang or are stopped: the watchdog ends them, whatever they
hold, spares those who only wait for them, and all others go on within 10 s.
"""

import itertools
import os
import random
import re
import signal
import threading
import time

import pytest
import requests
from harness import paths
from harness.waiting import wait_until
from test_crash_points import Bench

GO_ON_S = 10
HEARTBEAT_S = 4
SEED = os.environ.get("KAPHILA_WATCHDOG_SEED", "0")


@pytest.fixture
def bench(asterisk, database, ports, tmp_path, logs):
    """A kaphila with crash points, and calls for it."""
    made = Bench(
        tmp_path / "bench",
        asterisk.media,
        database,
        ports,
        {"supervision.heartbeat_timeout_s": HEARTBEAT_S},
    )
    logs.add(made.kaphila)
    yield made
    faults = made.close()
    assert not faults, "kaphila was not clean:\n" + "\n".join(faults)


class Writer:
    """Asks for something that needs a write transaction, over and over, and
    keeps the longest time between two answers."""

    def __init__(self, bench):
        self._bench = bench
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers = 0
        self.longest_s = 0.0
        self._thread.start()

    def _run(self):
        last = time.monotonic()
        while not self._over.is_set():
            try:
                requests.post(
                    f"{self._bench.kaphila.base_url}/hangup",
                    json={"callId": "1700000000.1"},
                    headers={"Authorization": f"Bearer {self._bench.key}"},
                    timeout=5,
                )
            except requests.RequestException:
                continue  # the one that was asked hangs: ask another
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now
            self.answers += 1
            self._over.wait(0.05)
        self.longest_s = max(self.longest_s, time.monotonic() - last)

    def stop(self):
        """The longest time without an answer, in seconds."""
        self._over.set()
        self._thread.join(30)
        assert self.answers > 0
        return self.longest_s


def generations(kaphila):
    """{name: generation} of all children."""
    return {name: c["generation"] for name, c in kaphila.children().items()}


@pytest.mark.parametrize("how", ["stop", "hang"])
@pytest.mark.parametrize("role", ["worker", "webhookd", "recorder"])
def test_holding_the_write_lock(bench, role, how):
    """Stopped, or hung, in the middle of a write transaction: it is killed
    (at once if it is stopped), the others only wait and live on."""
    kaphila = bench.kaphila
    before = generations(kaphila)
    writer = Writer(bench)
    (bench.armed / f"{role}.turn_begun").write_text(f"{how}\n", "utf-8")
    bench.post_until(
        lambda: bench.victim(role, "turn_begun") is not None,
        f"a {role} to {how} with the lock held",
    )
    pid = bench.victim(role, "turn_begun")
    kaphila.wait_log(rf"ending a child .*child_pid={pid} ", 2 * GO_ON_S)
    wait_until(lambda: not paths.process_lives(pid), "its end", GO_ON_S)
    bench.wait_back(role, pid)
    assert writer.stop() < GO_ON_S
    after = generations(kaphila)
    changed = {name for name, now in after.items() if now != before[name]}
    assert len(changed) == 1 and changed.pop().startswith(role)
    words = re.search(
        rf"ending a child .*child_pid={pid} .*", kaphila.log_text()
    )[0]
    if how == "stop":
        assert "signal=SIGKILL" in words and "was stopped" in words
    else:
        assert "signal=SIGABRT" in words
        assert "holding the store's lock" in words
    assert kaphila.log_text().count("ending a child") == 1
    assert not bench.settle()


def test_stopped_at_random_moments(bench):
    """Thirty times, any child, under load: it may hold the write lock, the
    readers' lock or nothing."""
    kaphila = bench.kaphila
    rng = random.Random(f"{SEED}:stops")
    over = threading.Event()
    failures = []

    def place_calls():
        digits = itertools.cycle(("08", "03", "10", "04"))
        while not over.is_set():
            try:
                bench.place(next(digits))
                bench.hang_up()
            except AssertionError as error:
                failures.append(error)
                return
            over.wait(0.05)

    writer = Writer(bench)
    placing = threading.Thread(target=place_calls, daemon=True)
    placing.start()
    try:
        for turn in range(30):
            name = rng.choice(
                [
                    "worker.0",
                    "worker.1",
                    "worker.0",
                    "worker.1",
                    "webhookd",
                    "recorder",
                ]
            )
            pid = kaphila.signal(name, signal.SIGSTOP)
            stopped = time.monotonic()
            kaphila.wait_new_pid(name, pid)
            assert time.monotonic() - stopped < GO_ON_S, (turn, name)
            assert not paths.process_lives(pid)
            time.sleep(rng.uniform(0, 0.7))
    finally:
        over.set()
        placing.join(60)
        longest_s = writer.stop()
    assert not failures, failures[0]
    assert longest_s < GO_ON_S
    # Nobody was ended but those that were stopped.
    reasons = re.findall(r"ending a child .*", kaphila.log_text())
    assert len(reasons) == 30
    assert all("it was stopped by a signal" in line for line in reasons)
    kaphila.wait_ready()
    assert not bench.settle()


def test_crash_loop(bench):
    """A worker that ends as soon as it is ready, again and again: its starts
    wait, status tells, and the other worker serves on."""
    kaphila = bench.kaphila
    kaphila.allow_errors("crash loop")
    kaphila.signal("worker.1")

    def is_loop():
        bench.arm("worker", "child_ready", 1)
        return kaphila.children()["worker.1"]["crashLoop"]

    wait_until(is_loop, "the loop to be told", 60)
    child = kaphila.children()["worker.1"]
    assert re.match(
        r"worker 1 failed \d+ times in \d+ s \(status 86\)",
        child["crashLoopWords"],
    )
    assert kaphila.children()["worker.0"]["crashLoop"] is False
    told = "error master.* crash loop child=worker slot=1"
    kaphila.wait_log(told)
    # Its share of the connects is the other one's meanwhile.
    for _ in range(10):
        assert bench.place("03") is not None
    assert len(re.findall(told, kaphila.log_text())) == 1
    (bench.armed / "worker.child_ready").unlink(missing_ok=True)
    wait_until(
        lambda: not kaphila.children()["worker.1"]["crashLoop"],
        "the loop to be over",
        60,
    )
    kaphila.wait_log("info master.* crash loop is over child=worker slot=1")
    assert not bench.settle()
