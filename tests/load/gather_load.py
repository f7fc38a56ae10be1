#!/usr/bin/python3
"""Load on gathers: calls at a fixed rate through a real Asterisk to the demo
carrier, each with one /gather as soon as it is answered. Callees send four
digits, or three, or none, or hang up. Prints the figures.

    tests/load/gather_load.py [--calls 500] [--rate 50] [--workers 2]
                              [--no-record] [--set KEY=VALUE ...]

Uses the release build in build/ (KAPHILA_BUILD_DIR: another one) and Asterisk
22 (KAPHILA_TEST_ASTERISK: another one), and starts all that it needs on
loopback, like the integration tests. Exits with 1 if a gather ended wrongly,
twice or not at all, a digit was lost, or something was left behind; no figure
makes it fail.
"""

import argparse
import http.client
import json
import os
import queue
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
os.environ.setdefault("KAPHILA_BUILD_DIR", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests" / "integration"))
# pylint: disable=wrong-import-position
from gather_judge import WANTED, judge  # noqa: E402
from harness import invariants, paths  # noqa: E402
from harness.asterisk import AsteriskPair  # noqa: E402
from harness.kaphila import Kaphila  # noqa: E402
from harness.ports import Ports  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.sink import WebhookSink  # noqa: E402
from harness.waiting import TimedOut, wait_until  # noqa: E402

CLIENTS = 16
TEXT = "Please enter your number."
TIMEOUT_MS = 5000
LONGEST_S = 30  # of a call

# Behaviours of the carrier, by turns.
TURNS = ("07", "07", "07", "14", "07", "08", "07", "11")


def percentile(values, share):
    """The value that `share` of them don't exceed."""
    ordered = sorted(values) or [float("nan")]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Caller:
    """Places the calls, and does what their events ask for: /gather when one
    is answered, /hangup when its gather is over."""

    def __init__(self, address, key, sink, options):
        self._address, self._sink, self._options = address, sink, options
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
        }
        self._jobs = queue.Queue()
        self.calls = {}  # id → behaviour
        self.latencies = {"/makecall": [], "/gather": [], "/hangup": []}
        self.failures = []
        self.gathering = set()

    def _on_event(self, delivery):
        """In the sink's thread: never waits."""
        if delivery.kind == "call.answered":
            body = {
                "callId": delivery.call_id,
                "text": TEXT,
                "numDigits": WANTED,
                "timeout": TIMEOUT_MS,
            }
            self._jobs.put(("/gather", body, None))
        elif delivery.kind in ("gather.complete", "gather.timeout"):
            if delivery.event.get("reason") != "call_ended":
                body = {"callId": delivery.call_id}
                self._jobs.put(("/hangup", body, None))
        return 200

    def _work(self):
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        while (job := self._jobs.get()) is not None:
            path, body, behaviour = job
            started = time.perf_counter()
            try:
                connection.request(
                    "POST", path, json.dumps(body), self._headers
                )
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append((path, 0, repr(error)))
                connection.close()  # the next request connects anew
                continue
            self.latencies[path].append(time.perf_counter() - started)
            if response.status == 200:
                if path == "/makecall":
                    self.calls[answer["callId"]] = behaviour
                elif path == "/gather":
                    self.gathering.add(body["callId"])
            elif path == "/makecall" or response.status not in (404, 409):
                self.failures.append((path, response.status, answer))
        connection.close()

    def run(self):
        """All calls, until each has ended."""
        self._sink.behaviour = self._on_event
        threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        for placed in range(self._options.calls):
            at = begin + placed / self._options.rate
            time.sleep(max(0.0, at - time.monotonic()))
            behaviour = TURNS[placed % len(TURNS)]
            body = {
                "number": f"1415{placed:05}{behaviour}",
                "webhookUrl": self._sink.url,
                "record": not self._options.no_record,
            }
            self._jobs.put(("/makecall", body, behaviour))
        try:
            self._wait_ended()
        except TimedOut as error:
            self.failures.append(("end", 0, str(error)))
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()

    def _wait_ended(self):
        wait_until(
            lambda: self._jobs.empty()
            and len(self._sink.events(kind="call.ended")) >= len(self.calls)
            and len(self.calls) + len(self.failures) >= self._options.calls,
            lambda: f"{len(self.calls)} ends, there are"
            f" {len(self._sink.events(kind='call.ended'))}",
            120,
            0.5,
        )


def report(options, caller, sink, node, left):
    """Print the figures; the exit status."""
    events = invariants.sink_events(sink)
    verdict = judge(caller.calls, caller.gathering, events)
    wrong = verdict.wrong
    wrong += invariants.check(node, events, list(caller.calls), left)
    print(
        f"{options.calls} calls, {options.rate:g}/s, a gather each,"
        f" {options.workers} workers"
    )
    rows = [
        ("calls accepted", len(caller.calls), options.calls),
        ("gathers", len(caller.gathering), ""),
        *((f"  ended {how}", count, "") for how, count in sorted(verdict.ends.items())),
        ("wrong ends and rules broken", len(wrong), 0),
        ("began behind the first digit", verdict.late, ""),
        ("texts spoken", len(list(node.speech_dir.rglob("*.wav"))), 1),
        ("events", len(events), ""),
    ]
    for path, values in caller.latencies.items():
        rows.append(
            (f"{path} p50, ms", f"{percentile(values, .5)*1e3:.1f}", "")
        )
        rows.append(
            (f"{path} p99, ms", f"{percentile(values, .99)*1e3:.1f}", "")
        )
    for name, value, aim in rows:
        print(f"  {name:32} {value:>10}   {aim}")
    for text in wrong[:20]:
        print("wrong:", text)
    for failure in caller.failures[:10]:
        print("refused:", *failure)
    return 1 if wrong or caller.failures else 0


def measure(options, folder, ports, pair, postgres):
    """One run; the exit status."""
    sink = WebhookSink(ports)
    node = Kaphila(
        folder,
        pair.media,
        Database(postgres, "kaphila"),
        ports,
        {
            "log.level": "info",
            "http.workers": options.workers,
            "store.map_size_mb": 1024,
            "node.id": 1,
            **dict(text.split("=", 1) for text in options.set),
        },
    )
    node.ctl("migrate", "--dir", paths.SCHEMA)
    status = 1
    try:
        node.start()
        key = node.create_key(credits=10**6, rate_limit=10**6)
        address = ("127.0.0.1", int(node.base_url.rpartition(":")[2]))
        caller = Caller(address, key, sink, options)
        caller.run()
        left = []
        try:
            invariants.wait_settled(
                node, lambda: invariants.left_in_asterisk(pair.media)
            )
        except TimedOut as error:
            left = [str(error)]
        status = report(options, caller, sink, node, left)
    finally:
        faults = node.close()
        sink.close()
        for fault in faults:
            print("fault:", fault)
    return 1 if faults else status


def main():
    """Set the servers up, measure, take them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50, help="a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--no-record", action="store_true", help="calls with record:false"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the configuration",
    )
    options = parser.parse_args()
    version = os.environ.get("KAPHILA_TEST_ASTERISK", "22")
    root = paths.service("asterisk-root", version, timeout_s=900)
    ports = Ports()
    pair, postgres = AsteriskPair(root, ports), Postgres(ports)
    # Two ports a call on each side: more than a test's block has.
    at_once = min(options.calls, int(options.rate * LONGEST_S))
    for one in (pair.media, pair.carrier):
        one.widen_rtp(2 * at_once + 100)
    with tempfile.TemporaryDirectory(prefix="kaphila-load-") as folder:
        try:
            postgres.start()
            pair.start()
            return measure(
                options, Path(folder) / "node", ports, pair, postgres
            )
        finally:
            pair.remove()
            postgres.remove()


if __name__ == "__main__":
    sys.exit(main())
