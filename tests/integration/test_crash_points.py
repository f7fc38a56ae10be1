"""Crash points: a process that ends by itself at a named place in its code,
each place tried by itself, with calls of several kinds under way; some of them
are analysed, played to and gathered from. Afterwards nothing is lost and
nothing happened twice (harness/invariants.py), and what a customer was told of
a sound or a gather holds (tests/faults/talk.py).

The points are those of shared/crash_point.h. One that calls pass again and
again fires at some passing, the same in every run; KAPHILA_CRASH_SEED chooses
others. One kaphila serves all of a test process, for its start and end take
longer than a crash; a point that failed spoils it, and the next gets a new one.
"""

import itertools
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import requests
from harness import invariants, paths
from harness.kaphila import Kaphila
from harness.sink import WebhookSink
from harness.waiting import wait_until
from test_calls import number

sys.path.append(str(paths.TOP / "tests" / "faults"))
from talk import Told, faults as talk_faults  # noqa: E402

TURN = ("turn_before_begin", "turn_begun", "turn_applied", "turn_committed")

# What passes each point, beside calls.
POINTS = {
    "worker": {
        "calls": (
            *TURN,
            "events_peeked",
            "events_committed",
            "events_consumed",
            "originate_before_send",
            "originate_said",
            "originate_replied",
            "command_before_send",
            "command_said",
            "command_bytes_left",
            "command_replied",
            "ledger_before_post",
            "ledger_post_sent",
            "ledger_posted",
            "ledger_removed",
        ),
        "its start": (
            "child_store_opened",
            "child_before_ready",
            "child_ready",
            "events_before_resume",
            "events_resumed",
            "reconcile_listed",
        ),
        "a start of all": ("events_before_hand_over", "events_handed_over"),
        "a planned restart": (
            "handover_asked",
            "handover_left",
            "handover_taken",
        ),
    },
    "webhookd": {
        "calls": (
            *TURN,
            "delivery_before_send",
            "delivery_sent",
            "delivery_taken",
            "delivery_settled",
        ),
        "its start": ("child_before_ready", "child_ready"),
    },
    "recorder": {
        "calls": (
            *TURN,
            "recording_found",
            "recording_moved",
            "recording_taken",
        ),
        "another disk": ("recording_copied", "recording_before_unlink"),
        "its start": ("child_before_ready", "child_ready"),
    },
    "master": {
        "a child's death": (
            "master_child_gone",
            "master_before_spawn",
            "master_spawned",
        ),
        "a start of all": ("master_socket_kept",),
    },
}
CASES = [
    (role, point, by)
    for role, ways in POINTS.items()
    for by, points in ways.items()
    for point in points
]
MOST = {"calls": 9, "another disk": 4}  # passings; of others 1
CALM = 4  # crashes of a role in a row; the fifth is a loop
SEED = os.environ.get("KAPHILA_CRASH_SEED", "0")
# Of a call that all is done to: its analysis is over soon, by silence, or goes
# on while the crash comes.
QUICK_AMD = {"useAmd": True, "asyncAmd": True, "amd": {"initialSilence": 500}}
LONG_AMD = {**QUICK_AMD, "amd": {"initialSilence": 6000}}
SHORT, LONG = "hello-world", "demo-instruct"  # 1.4 s, 73 s
QUICK = {
    "http.workers": 2,
    "supervision.drain_timeout_s": 5,
    "webhook.retry_max_ms": 300,
}


class Bench:
    """A kaphila whose processes crash, and the calls that it is given."""

    def __init__(self, folder, media, database, ports, settings):
        self.media = media
        self.sink = WebhookSink(ports)
        self.armed = folder / "armed"
        self.armed.mkdir(parents=True)
        os.environ["KAPHILA_CRASH_DIR"] = str(self.armed)
        self.kaphila = Kaphila(
            folder, media, database, ports, {**QUICK, **settings}
        )
        del os.environ["KAPHILA_CRASH_DIR"]
        self.kaphila.allow_restarts()
        self.kaphila.allow_errors("crash loop")  # it may look like one
        self.kaphila.start()
        self.key = self.kaphila.create_key(credits=100000)
        self.accepted = set()
        self.talking = {}  # call id → when it may be hung up
        self.told = {}  # call id → Told, of those that all is done to
        self.silent = set()  # …that nothing was done to yet
        self._crashes = Counter()  # by role, of this master's children
        self._kinds = itertools.cycle(
            (("10", QUICK_AMD), ("03", {}), ("10", {}), ("04", {}))
        )

    def close(self):
        """Stop all; what was wrong, as a list of texts."""
        faults = self.kaphila.close()
        self.sink.close()
        return faults

    # --- calls ---

    def _post(self, path, body):
        """On a connection of its own, so to any worker, which may die of it:
        then None, and nobody knows."""
        try:
            return requests.post(
                f"{self.kaphila.base_url}{path}",
                json=body,
                headers={"Authorization": f"Bearer {self.key}"},
                timeout=20,
            )
        except requests.RequestException:
            return None

    def place(self, digits, more=None):
        """One call; its id, or None. `more` are further fields: it will be
        played to and gathered from, too."""
        body = {"number": number(digits), "webhookUrl": self.sink.url}
        response = self._post("/makecall", {**body, **(more or {})})
        if response is None:
            return None  # it is there or not: its row will tell
        answer = response.json()
        if "callId" in answer:
            self.accepted.add(answer["callId"])
            if digits != "08":
                self.talking[answer["callId"]] = time.monotonic() + 0.5
            if more:
                self.told[answer["callId"]] = Told()
                self.silent.add(answer["callId"])
        assert response.status_code in (200, 503), response.text
        return answer.get("callId")

    def talk(self, call_id, sound):
        """Play to a call that is answered, and gather from it."""
        told = self.told[call_id]
        self.silent.discard(call_id)
        body = {"callId": call_id, "file": sound}
        response = self._post("/play", body)
        if self._is_lost(response):
            told.lost_plays += 1
        elif response.status_code == 200:
            told.plays.add(response.json()["playbackId"])
        response = self._post("/gather", {**body, "timeout": 1000})
        if self._is_lost(response):
            told.lost_gathers += 1
        elif response.status_code == 200:
            told.gathers += 1
        self.talking[call_id] = time.monotonic() + 1

    @staticmethod
    def _is_lost(response):
        """Nobody knows whether it was done."""
        if response is None or response.status_code == 503:
            return True
        # 404: it has ended by itself
        assert response.status_code in (200, 404), response.text
        return False

    def talk_to_new(self):
        """Those that were answered since, in their turn."""
        answered = {
            event["callId"] for event in self.sink.events(kind="call.answered")
        }
        for call_id in sorted(answered & self.silent & set(self.talking)):
            self.talk(call_id, SHORT)

    def hang_up(self):
        """End what has talked, or rung, for long enough."""
        now = time.monotonic()
        for call_id in [c for c, due in self.talking.items() if due < now]:
            if self._post_hangup(call_id):
                del self.talking[call_id]

    def _post_hangup(self, call_id):
        response = self._post("/hangup", {"callId": call_id})
        if response is None:
            return False
        # 404: it has ended by itself
        assert response.status_code in (200, 404), response.text
        return True

    def post_until(self, done, what):
        """Place calls, talk to them and end them, until done() is true."""

        def step():
            if done():
                return True
            self.place(*next(self._kinds))
            self.talk_to_new()
            self.hang_up()
            return done()

        wait_until(step, what, 45, 0.05)

    # --- crashes ---

    def arm(self, role, point, passing):
        """Have the process of that role that passes the point, for the
        passing-th time from now, end there."""
        (self.armed / f"{role}.{point}").write_text(f"{passing}\n", "utf-8")

    def calm(self):
        """Begin anew where the master would take it for a crash loop."""
        if max(self._crashes.values(), default=0) >= CALM:
            self.kaphila.restart()
            self._crashes.clear()

    def victim(self, role, point):
        """The pid of the process that ended there, or None."""
        if (self.armed / f"{role}.{point}").exists():
            return None
        ends = re.findall(
            rf"crash point {point}: {role}\[(\d+)\] ends here",
            self.kaphila.log_text(),
        )
        return int(ends[-1]) if ends else None

    def wait_back(self, role, pid):
        """Until all is as before the crash: a master is started anew."""
        self._crashes[role] += 1
        if role == "master":
            wait_until(lambda: not self.kaphila.running, "the master's end")
            self.kaphila.start()
            self._crashes.clear()
            return
        wait_until(
            lambda: pid not in [c["pid"] for c in self.children()],
            f"the master to notice the end of {pid}",
        )
        self.kaphila.wait_ready()

    def children(self):
        """The children of `kaphilactl status`."""
        return self.kaphila.status()["children"]

    def left(self):
        """What the media Asterisk still has."""
        return invariants.left_in_asterisk(self.media)

    def settle(self):
        """End all calls but those that end by themselves, wait until nothing
        of them is left; what is wrong."""
        client = self.kaphila.api(self.key)
        listed = wait_until(lambda: client.get("/calls"), "the list of calls")
        for call in listed.json()["calls"]:
            if not call["number"].endswith("08"):
                self._post_hangup(call["callId"])
        self.talking.clear()
        invariants.wait_settled(self.kaphila, self.left)
        events = invariants.sink_events(self.sink)
        found = invariants.check(
            self.kaphila, events, self.accepted, self.left()
        )
        own = invariants.by_call(events)
        for call_id, told in self.told.items():
            found += talk_faults(told, call_id, list(own[call_id].values()))
        return found


class Benches:
    """The bench of each kind that is whole, made when it is first asked for."""

    def __init__(self, folder, media, postgres, ports):
        self._made = {}
        self._all = []
        self._folder = folder
        self._servers = (media, postgres, ports)

    def get(self, another_disk):
        """A bench that no failed test has left; it is spoiled until kept."""
        media, postgres, ports = self._servers
        bench = self._made.pop(another_disk, None)
        if bench is None:
            media.clear()
            folder = self._folder / str(len(self._all))
            settings = {}
            if another_disk:
                disk = tempfile.mkdtemp(prefix="kaphila-", dir="/dev/shm")
                settings["recorder.dir"] = disk
            bench = Bench(
                folder,
                media,
                postgres.create_database("kaphila"),
                ports,
                settings,
            )
            if another_disk:
                bench.kaphila.recordings_dir = Path(disk)
            self._all.append(bench)
        bench.calm()
        return bench

    def keep(self, another_disk, bench):
        """It came through: the next test may have it."""
        self._made[another_disk] = bench

    def close(self):
        """Stop them all; what was wrong with those that no test failed on."""
        faults = []
        for bench in self._all:
            found = bench.close()
            bench.kaphila.database.drop()
            if bench.kaphila.recordings_dir.is_relative_to("/dev/shm"):
                shutil.rmtree(bench.kaphila.recordings_dir)
            if bench in self._made.values():
                faults += found
        return faults


@pytest.fixture(scope="module")
def benches(asterisk_pair, postgres, ports, tmp_path_factory):
    """The benches of this test process."""
    made = Benches(
        tmp_path_factory.mktemp("crash"), asterisk_pair.media, postgres, ports
    )
    yield made
    faults = made.close()
    assert not faults, "kaphila was not clean:\n" + "\n".join(faults)


def test_every_point_is_tried():
    """The list in the header, and the list here."""
    header = (paths.TOP / "shared" / "crash_point.h").read_text("utf-8")
    listed = set(re.findall(r"^\tX\((\w+), ", header, re.M))
    assert listed == {point for _, point, _ in CASES}


def trigger(bench, role, by):
    """Beside calls: have the point passed."""
    if by == "its start":
        name = "worker.0" if role == "worker" else role
        bench.kaphila.signal(name)
    elif by == "a planned restart":
        bench.kaphila.ctl("restart", "worker", "0", "--no-wait")
    elif by == "a child's death":
        bench.kaphila.signal("worker.1")
    elif by == "a start of all":
        bench.kaphila.stop()
        bench.kaphila.start(wait_ready=False)


@pytest.mark.parametrize(
    ("role", "point", "by"), CASES, ids=[f"{r}-{p}" for r, p, _ in CASES]
)
def test_crash(benches, logs, asterisk_pair, role, point, by):
    """It ends there, comes back, and every call has what it must have."""
    bench = benches.get(by == "another disk")
    logs.add(bench.kaphila)
    logs.add(asterisk_pair)
    rich = bench.place("10", LONG_AMD)
    bench.sink.wait(rich, "call.answered")
    bench.talk(rich, LONG)
    whole, *_ = [bench.place(digits) for digits in ("08", "03", "10", "04")]
    if role == "master" or by == "a start of all":
        # With nobody there, Asterisk would drop what is answered just then.
        bench.sink.wait(whole, "recording.started")
    bench.arm(
        role,
        point,
        random.Random(f"{SEED} {role} {point}").randint(1, MOST.get(by, 1)),
    )
    trigger(bench, role, by)
    bench.post_until(
        lambda: bench.victim(role, point), f"a {role} to crash at {point}"
    )
    bench.wait_back(role, bench.victim(role, point))
    faults = bench.settle()
    assert not faults, "\n".join(faults)
    # It was answered and has ended while a process was away, or not.
    assert "call.answered" in bench.sink.kinds(whole)
    kinds = bench.sink.kinds(rich)
    assert {"amd.result", "gather.started"} <= set(kinds), kinds
    benches.keep(by == "another disk", bench)
