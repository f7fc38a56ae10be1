#!/usr/bin/python3
"""Load on the main job: calls at a fixed rate through a real Asterisk to SIPp,
every event to a webhook. Prints the figures beside their aims.

    tests/load/main_job.py [--rate 50] [--seconds 20] [--talk 3] [--workers 2]
                           [--set KEY=VALUE ...]

Uses the release build in build/ (KAPHILA_BUILD_DIR: another one) and Asterisk
22 (KAPHILA_TEST_ASTERISK: another one), and starts all that it needs on
loopback, like the integration tests. Exits with 1 if a
call or an event was lost; no figure makes it fail.
"""

import argparse
import http.client
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
os.environ.setdefault("KAPHILA_BUILD_DIR", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests" / "integration"))
# pylint: disable=wrong-import-position
from harness import paths  # noqa: E402
from harness.asterisk import AsteriskPair  # noqa: E402
from harness.kaphila import Kaphila  # noqa: E402
from harness.ports import Ports  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.sink import WebhookSink  # noqa: E402
from harness.waiting import TimedOut, wait_until  # noqa: E402

EVENTS = {
    "call.initiated", "call.ringing", "call.answered",
    "recording.started", "recording.completed", "call.ended",
}
TICKS = os.sysconf("SC_CLK_TCK")
CLIENTS = 16


def percentile(values, share):
    """The value that `share` of them don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def cpu_seconds(pid):
    """User and system time of a process so far, its threads included, to the
    nanosecond where the kernel keeps it (schedstat), else by its ticks."""
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        fields = fields.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss_mb(pid):
    """The largest resident set so far."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Caller:
    """Posts /makecall at a fixed rate from a few keep-alive connections, and
    /hangup for each call after `talk` seconds."""

    def __init__(self, address, key, url, options):
        self._address, self._url, self._options = address, url, options
        self._headers = {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._jobs = queue.Queue()
        self.latencies, self.calls, self.failures = [], [], []

    def _post(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), self._headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def _work(self):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        while (job := self._jobs.get()) is not None:
            kind, value = job
            if kind == "call":
                started = time.perf_counter()
                status, answer = self._post(connection, "/makecall", {
                    "number": f"1415{value:07d}", "webhookUrl": self._url})
                self.latencies.append(time.perf_counter() - started)
                if status == 200:
                    self.calls.append((answer["callId"], time.time()))
                else:
                    self.failures.append((status, answer))
            else:
                status, answer = self._post(connection, "/hangup", {"callId": value})
                if status not in (200, 404):
                    self.failures.append((status, answer))
        connection.close()

    def run(self):
        """All calls, and the hangups behind them."""
        threads = [threading.Thread(target=self._work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        total = int(self._options.rate * self._options.seconds)
        begin, hung_up, placed = time.monotonic(), 0, 0
        while hung_up < total - len(self.failures) and \
                time.monotonic() - begin < self._options.seconds + self._options.talk + 60:
            while placed < total and \
                    time.monotonic() - begin >= placed / self._options.rate:
                self._jobs.put(("call", placed))
                placed += 1
            while hung_up < len(self.calls) and \
                    time.time() - self.calls[hung_up][1] >= self._options.talk:
                self._jobs.put(("hangup", self.calls[hung_up][0]))
                hung_up += 1
            time.sleep(0.001)
        for _ in threads:
            self._jobs.put(None)
        for thread in threads:
            thread.join()


def lost_events(sink, calls):
    """What is missing or wrong, as texts; empty when nothing was lost."""
    by_call = {}
    for event in sink.events():
        by_call.setdefault(event["callId"], []).append(event)
    wrong = []
    for call_id, _ in calls:
        events = by_call.get(call_id, [])
        kinds = sorted(event["event"] for event in events)
        numbers = sorted(event["sequence"] for event in events)
        if kinds != sorted(EVENTS) or numbers != list(range(1, len(EVENTS) + 1)):
            wrong.append(f"{call_id}: {numbers} {kinds}")
    return wrong


def answer_delays(sink):
    """Seconds from Asterisk's answer to its webhook's arrival."""
    return [
        delivery.received_at
        - datetime.fromisoformat(delivery.event["timestamp"].replace("Z", "+00:00")).timestamp()
        for delivery in sink.deliveries if delivery.kind == "call.answered"
    ]


def measure(options, folder, ports, pair, postgres):
    """One run; the exit status."""
    sink = WebhookSink(ports)
    node = Kaphila(folder, pair.media, Database(postgres, "kaphila"), ports, {
        "log.level": "info", "http.workers": options.workers,
        "store.map_size_mb": 1024, "node.id": 1,
        **dict(text.split("=", 1) for text in options.set)})
    node.ctl("migrate", "--dir", paths.SCHEMA)
    sipp = subprocess.Popen(
        ["sipp", "-sf", TOP / "tests" / "load" / "answer.xml", "-i", "127.0.0.1",
         "-p", str(pair.sipp_port), "-nostdin", "-nd", "-l", "10000",
         "-mp", str(ports.take_rtp())],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, cwd=folder)
    status = 1
    try:
        node.start()
        key = node.create_key(credits=10**6, rate_limit=10**6, trunks=("sipp",))
        pids = {"master": node.pid()} | {
            name: child["pid"] for name, child in node.children().items()}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        caller = Caller(("127.0.0.1", int(node.base_url.rpartition(":")[2])),
                        key, sink.url, options)
        caller.run()
        try:
            wait_until(lambda: len(sink.events()) >= len(EVENTS) * len(caller.calls),
                       "all events", 60, 0.5)
        except TimedOut:
            pass
        cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        rss = {name: peak_rss_mb(pid) for name, pid in pids.items()}
        status = report(options, caller, sink, cpu, rss)
    finally:
        faults = node.close()
        sink.close()
        sipp.kill()
        sipp.wait()
        for fault in faults:
            print("fault:", fault)
    return 1 if faults else status


def report(options, caller, sink, cpu, rss):
    """Print the table; the exit status."""
    calls = len(caller.calls)
    wrong = lost_events(sink, caller.calls)
    delays = answer_delays(sink) or [float("nan")]
    repeats = len(sink.deliveries) - len(sink.events())
    rows = [
        ("calls accepted", f"{calls} of {int(options.rate * options.seconds)}", "all"),
        ("calls with an event lost", str(len(wrong)), "0"),
        ("deliveries made twice", str(repeats), ""),
        ("/makecall p50", f"{percentile(caller.latencies, .5) * 1e3:.1f} ms", ""),
        ("/makecall p99", f"{percentile(caller.latencies, .99) * 1e3:.1f} ms", "< 20 ms"),
        ("answer to webhook p50", f"{percentile(delays, .5) * 1e3:.1f} ms", ""),
        ("answer to webhook p99", f"{percentile(delays, .99) * 1e3:.1f} ms", "< 50 ms"),
        ("CPU a call", f"{sum(cpu.values()) / max(calls, 1) * 1e3:.2f} ms", "< 1 ms"),
        *((f"  of it {name}", f"{seconds / max(calls, 1) * 1e3:.3f} ms", "")
          for name, seconds in cpu.items()),
        ("RSS, peak, summed", f"{sum(rss.values()):.0f} MB", ""),
        *((f"  of it {name}", f"{size:.0f} MB", "") for name, size in rss.items()),
    ]
    print(f"{options.rate:g} calls/s for {options.seconds:g} s, "
          f"{options.workers} workers, {options.talk:g} s of talk")
    for name, value, aim in rows:
        print(f"  {name:28} {value:>14}   {aim}")
    for line in wrong[:10]:
        print("lost:", line)
    for status, answer in caller.failures[:10]:
        print("refused:", status, answer)
    return 0 if not wrong and not caller.failures else 1


def main():
    """Set the servers up, measure, take them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50, help="calls a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--talk", type=float, default=3, help="seconds until /hangup")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="a setting of the configuration, such as "
                             "store.commit_window_ms=20")
    options = parser.parse_args()
    version = os.environ.get("KAPHILA_TEST_ASTERISK", "22")
    root = paths.service("asterisk-root", version, timeout_s=900)
    ports = Ports()
    pair, postgres = AsteriskPair(root, ports), Postgres(ports)
    # Two ports a call: more than a test's block has.
    pair.media.widen_rtp(int(options.rate * (options.talk + 10)) * 2)
    with tempfile.TemporaryDirectory(prefix="kaphila-load-") as folder:
        try:
            postgres.start()
            pair.media.start()
            return measure(options, Path(folder) / "node", ports, pair, postgres)
        finally:
            pair.media.remove()
            postgres.remove()


if __name__ == "__main__":
    sys.exit(main())
