#!/usr/bin/python3
"""A storm: calls at a fixed rate while processes are killed, stopped and
restarted and links are cut, by a plan drawn from a seed. Afterwards all that
must hold is checked; the exit status is 1 if anything does not.

    tests/faults/storm.py [--target simulator|asterisk] [--seed N]
        [--seconds 60] [--rate CALLS/S] [--every SECONDS] [--kills N]
        [--workers 3] [--talks SHARE] [--no-amd] [--without ACTION ...]
    [--junit FILE] [--keep]

Uses the build in build/ (KAPHILA_BUILD_DIR: another one). With --kills the
plan goes on until so many kills were made. The whole log stays in the folder
that is named at a failure (or with --keep).
"""

import argparse
import html
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
os.environ.setdefault("KAPHILA_BUILD_DIR", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests" / "integration"))
# pylint: disable=wrong-import-position
from callers import PRESSING, Callers  # noqa: E402
from chaos import Chaos, plan  # noqa: E402
from judge import (  # noqa: E402
    CONTROL_KINDS, accepted_ids, doubles, timed_out_ids, unseen,
)
from talk import faults as talk_faults  # noqa: E402
from harness import invariants, paths  # noqa: E402
from harness.asterisk import AsteriskPair  # noqa: E402
from harness.kaphila import Kaphila, control  # noqa: E402
from harness.ports import Ports  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.simulator import EventSink, Simulator  # noqa: E402
from harness.waiting import TimedOut, wait_until  # noqa: E402

CREDITS = 10**7
SETTINGS = {
    "log.level": "info",
    "http.max_connections": 256,
    "http.idle_timeout_s": 10,
    "store.map_size_mb": 256,
    "supervision.heartbeat_timeout_s": 3,
    "supervision.ready_timeout_s": 20,
    "supervision.drain_timeout_s": 10,
    "recorder.give_up_s": 10,
    "asterisk.reconnect_max_ms": 1000,
    "asterisk.ping_interval_ms": 1000,
}
# A machine that is busy with other things lets a real Asterisk ring nobody for
# seconds, and the only trunk rests. It must not for longer than customers wait.
REAL_SETTINGS = {
    "trunks.circuit_rest_s": 1,
    "trunks.circuit_rest_max_s": 5,
}
SETTLE_S = 180
ENOUGH_CALLS = 1000  # for everything that they may ask for to be asked for
RTP_PORTS = 600  # of an Asterisk: two for each call that is up
# What a storm itself makes a node say; anything else of level error is a find.
EXPECTED_ERRORS = (
    r"events were lost unread",
    r"a command's outcome could not be stored",
    r"crash loop",
    r"another program has taken the Stasis app over",
    r"recording given up .* result=damaged",  # of an Asterisk that died
)
# Descriptors that a child may have more at the end than when it was new:
# kept-alive connections to the webhooks' target, to Asterisk, to PostgreSQL.
SPARE_FDS = {"worker": 8, "webhookd": 70, "recorder": 4}


# As the kernel counts them (include/net/tcp_states.h).
TCP_STATES = ("", "established", "syn-sent", "syn-received", "fin-wait-1",
              "fin-wait-2", "time-wait", "closed", "close-wait", "last-ack",
              "listen", "closing")


def say(text):
    """A line of progress."""
    print(text, flush=True)


def open_files(pid):
    """A process's descriptors, as {what they are: how many}."""
    found = Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            found[re.sub(r"[:(].*", "", os.readlink(entry.path))] += 1
        except FileNotFoundError:
            pass  # that of the look itself, or just closed
    return found


def tcp_sockets(pid):
    """What a process's TCP sockets are: {"LOCAL-REMOTE STATE": how many}, with
    the ephemeral ports left out, so that those of one purpose count as one."""
    low, high = map(int, Path(
        "/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    own = {
        os.readlink(entry.path)[8:-1]
        for entry in os.scandir(f"/proc/{pid}/fd")
        if os.readlink(entry.path).startswith("socket:[")
    }
    found = Counter()
    lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    for fields in map(str.split, lines):
        if fields[9] in own:
            ports = [int(end.rpartition(":")[2], 16) for end in fields[1:3]]
            ends = ["*" if low <= n <= high else str(n) for n in ports]
            found[f"{'-'.join(ends)} {TCP_STATES[int(fields[3], 16)]}"] += 1
    return found


def descriptors(node):
    """{"master": {...}, "worker.0": {...}, ...}"""
    found = {"master": open_files(node.pid())}
    for name, child in node.children().items():
        found[name] = open_files(child["pid"])
    return found


class Storm:
    """One storm, from its servers to its verdict."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.ports = Ports()
        self.postgres = Postgres(self.ports)
        self.simulator = self.pair = self.node = self.sink = None
        self.faults = []
        self.figures = {}

    @property
    def media(self):
        """Whatever plays Asterisk."""
        return self.simulator or self.pair.media

    def set_up(self):
        """Start all the servers, and the node on them."""
        self.postgres.start()
        if self.options.target == "simulator":
            self.simulator = Simulator(
                self.ports, self.folder / "simulator", seed=self.options.seed,
                amd="human=60,machine=30,silence=5,not-sure=5",
                amd_ms="200-2500", trunks="full,carrier",
            )
            self.simulator.start()
        else:
            root = paths.service("asterisk-root", "22", timeout_s=900)
            self.pair = AsteriskPair(root, self.ports)
            for one in (self.pair.media, self.pair.carrier):
                one.widen_rtp(RTP_PORTS)
            self.pair.start()
        self.sink = EventSink(self.ports, self.folder / "events.jsonl")
        self.sink.start()
        self.node = Kaphila(
            self.folder / "node", self.media,
            Database(self.postgres, "kaphila"), self.ports,
            {
                **SETTINGS,
                **({} if self.simulator else REAL_SETTINGS),
                "http.workers": self.options.workers,
            },
        )
        self.node.allow_restarts()
        for pattern in EXPECTED_ERRORS:
            self.node.allow_errors(pattern)
        self.node.ctl("migrate", "--dir", paths.SCHEMA)
        self.node.start()

    def rage(self):
        """The storm itself; returns the callers with what they know."""
        options = self.options
        # on the simulator the first trunk takes no call: each is rerouted,
        # or goes to the second at once while the first one rests
        key = self.node.create_key(
            credits=CREDITS, rate_limit=10**7,
            trunks=("full", "carrier") if self.simulator else ("carrier",),
        )
        callers = Callers(
            ("127.0.0.1", int(self.node.base_url.rpartition(":")[2])), key,
            self.sink.url, options.rate, options.seed,
            talks=options.talks, amd=not options.no_amd,
            pressing=PRESSING[options.target],
        )
        seconds = options.seconds
        if options.kills:
            seconds = 10 * options.kills * options.every
        steps = plan(options.seed, seconds, options.every,
                     self.simulator is not None, options.without)
        chaos = Chaos(self.node, steps, self.simulator, options.workers, say)
        thread = threading.Thread(target=callers.run)
        before = descriptors(self.node)
        begin = time.monotonic()
        thread.start()
        try:
            chaos.run(lambda: 0 < options.kills <= chaos.kills)
            self.calm()
        finally:
            callers.stop()
            thread.join()
        self.figures["storm, s"] = round(time.monotonic() - begin)
        self.figures["kills"] = chaos.kills
        self.figures["actions"] = dict(sorted(chaos.done.items()))
        return callers, before

    def calm(self):
        """As it was before the storm: all slots served, nothing paused."""
        wait_until(
            lambda: self._try_control(command="resume").get("ok"), "resume", 60)
        wait_until(self._is_scaled_back, "the old number of workers", 60, 0.3)
        self.node.wait_ready(90)

    def _is_scaled_back(self):
        workers = self.options.workers
        status = self._try_control(command="status")
        if status.get("master", {}).get("workers") == workers:
            return True
        self._try_control(command="scale", workers=workers)
        return False

    def _try_control(self, **request):
        try:
            return control(self.node.run_dir, **request)
        except (OSError, ValueError):
            return {}

    def left(self):
        """Channels and bridges that nobody has hung up."""
        if self.simulator is None:
            return invariants.left_in_asterisk(self.media)
        state = self.simulator.state()
        return [f"{kind}: {state[kind]}" for kind in ("channels", "bridges")
                if state[kind]]

    def judge(self, callers, before):
        """Everything that is wrong, as texts."""
        try:
            invariants.wait_settled(self.node, self.left, SETTLE_S)
        except TimedOut as error:
            self.faults.append(str(error)[:3000])
        events = self.sink.events()
        timed_out = timed_out_ids(callers.outcomes)
        self.faults += invariants.check(
            self.node, events, accepted_ids(callers.outcomes) | timed_out,
            self.left(), whole_files=False,
        )
        self.faults += [f"surprise: {s}" for s in callers.surprises[:20]]
        self.faults += doubles(callers.outcomes, events, self.rung())
        self.faults += self.control_faults(callers, events)
        self.faults += self.descriptor_faults(before)
        self.faults += self.crashes()
        if len(callers.outcomes) >= ENOUGH_CALLS and self.options.talks > 0:
            self.faults += unseen(events, CONTROL_KINDS)
        self.count(callers, events, timed_out)

    def control_faults(self, callers, events):
        """What was played and gathered is what was asked for."""
        if self.simulator is not None:
            twice = self.simulator.state(brief=True)["totals"]["played_twice"]
            if twice:
                yield f"{twice} sounds were played twice"
        own = invariants.by_call(events)
        for outcome in callers.outcomes:
            if outcome.call_id in own:
                yield from talk_faults(
                    outcome.told, outcome.call_id,
                    list(own[outcome.call_id].values()),
                )

    def rung(self):
        """How often each number was dialled, where that is known."""
        if self.simulator is None:
            return {}
        return self.simulator.state()["rung"]["by_number"]

    def descriptor_faults(self, before):
        """More descriptors than before the storm."""
        def settled():
            now = descriptors(self.node)
            return [
                f"{name} has {now[name].total()} descriptors, had "
                f"{had.total()}; more are {dict(now[name] - had)}; its TCP "
                f"sockets: {dict(tcp_sockets(self.node.pid(name)))}"
                for name, had in before.items()
                if now[name].total() - had.total()
                > SPARE_FDS.get(name.split(".")[0], 0)
            ]

        faults = settled()
        for _ in range(60):  # idle connections end meanwhile
            if not faults:
                break
            time.sleep(0.5)
            faults = settled()
        return faults

    def crashes(self):
        """Ends that nobody brought about."""
        ends = Counter(re.findall(
            r'child is gone .*reason="?(crashed by SIG(?:SEGV|BUS|FPE|ILL|SYS)[^"]*'
            r'|left with status [^"]*)', self.node.log_text()))
        return [f"{count} × child is gone: {end}" for end, count in ends.items()]

    def count(self, callers, events, timed_out):
        """The figures of the closing line."""
        outcomes = callers.outcomes
        ids = {event["eventId"] for event in events}
        kinds = Counter(
            {event["eventId"]: event["event"] for event in events}.values())
        self.figures.update({
            "calls posted": len(outcomes),
            "lists of calls": callers.batches,
            "calls held back": callers.held_back,
            "calls accepted": sum(1 for o in outcomes if o.call_id),
            "calls timed out": len(timed_out),
            "tries": sum(o.tries for o in outcomes),
            "answers replayed": sum(1 for o in outcomes if o.replayed),
            "events": len(ids),
            "events delivered again": len(events) - len(ids),
            "of each kind": dict(sorted(kinds.items())),
        })

    def tear_down(self):
        """Stop all; what the node's own end shows counts too."""
        if self.node is not None:
            self.faults += self.node.close()
        for server in (self.sink, self.simulator):
            if server is not None:
                server.close()
        if self.pair is not None:
            self.pair.remove()
        self.postgres.remove()


def read_options():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--target", choices=("simulator", "asterisk"),
                        default="simulator")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float,
                        help="calls a second (300, or 20 on a real Asterisk)")
    parser.add_argument("--every", type=float, default=1.0,
                        help="seconds between two actions, on the average")
    parser.add_argument("--kills", type=int, default=0,
                        help="go on until so many kills were made")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--without", action="append", default=[],
                        metavar="ACTION", help="such as 'kill master'")
    parser.add_argument("--talks", type=float, default=0.3, metavar="SHARE",
                        help="of the calls that are answered and stay: played "
                        "to, spoken to, gathered from, forwarded (0.3); of "
                        "those that press keys, all unless it is 0")
    parser.add_argument("--no-amd", action="store_true",
                        help="no call is analysed")
    parser.add_argument("--junit", type=Path, metavar="FILE",
                        help="write the verdict there as JUnit's XML")
    parser.add_argument("--keep", action="store_true",
                        help="keep the folder with the log and the store")
    options = parser.parse_args()
    if options.rate is None:
        options.rate = 300 if options.target == "simulator" else 20
    return options


def write_junit(path, name, faults):
    """One test case, for the summary of tests/run."""
    text = html.escape("\n".join(faults))
    body = f"<failure>{text}</failure>" if faults else ""
    path.write_text(
        f'<testsuite name="faults"><testcase classname="faults" '
        f'name="{name}">{body}</testcase></testsuite>\n', encoding="utf-8")


def main():
    """One storm; the exit status."""
    options = read_options()
    say(f"storm on the {options.target}, seed {options.seed}, "
        f"{options.rate:g} calls/s")
    folder = Path(tempfile.mkdtemp(prefix="kaphila-storm-"))
    storm = Storm(options, folder)
    try:
        storm.set_up()
        storm.judge(*storm.rage())
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        storm.faults.append(f"the storm itself broke off: {error!r}")
    finally:
        storm.tear_down()
    for name, value in storm.figures.items():
        say(f"  {name:24} {value}")
    for fault in storm.faults:
        say(f"BROKEN: {fault}")
    if storm.faults:
        say(f"{len(storm.faults)} invariants broken; seed {options.seed}; "
            f"logs in {folder}")
    elif not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    if options.junit:
        write_junit(options.junit, f"storm-{options.target}-{options.seed}",
                    storm.faults)
    return 1 if storm.faults else 0


if __name__ == "__main__":
    sys.exit(main())
