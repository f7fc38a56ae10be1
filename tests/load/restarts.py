#!/usr/bin/python3
"""Restarts of single workers under load: customers on keep-alive connections
ask at a fixed rate, some of it calls through a real Asterisk to SIPp, while one
worker after the other is replaced. Nothing may fail, and no event may be lost,
come twice or out of order.

    tests/load/restarts.py [--restarts 20] [--rate 200] [--calls 20]
                           [--workers 4] [--gap 2] [--talk 3] [--hup]
                           [--set KEY=VALUE ...]

Uses the release build in build/ (KAPHILA_BUILD_DIR: another one), and starts
all that it needs on loopback, like the integration tests. Exits with 1 if a
request failed, or an event was lost, repeated or late.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
os.environ.setdefault("KAPHILA_BUILD_DIR", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests" / "integration"))
# pylint: disable=wrong-import-position
from harness import paths  # noqa: E402
from harness.asterisk import AsteriskPair  # noqa: E402
from harness.kaphila import Kaphila  # noqa: E402
from harness.keepalive import KeepAlive  # noqa: E402
from harness.ports import Ports  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.sink import WebhookSink  # noqa: E402
from harness.waiting import TimedOut, wait_until  # noqa: E402

KINDS = [
    "call.initiated",
    "call.ringing",
    "call.answered",
    "recording.started",
    "call.ended",
    "recording.completed",
]


def percentile(values, share):
    """The value that `share` of them don't exceed; 0 where there is none."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def deliveries_of(sink):
    """{call: its deliveries, repeats included, as they came}"""
    found = {}
    for delivery in list(sink.deliveries):
        found.setdefault(delivery.call_id, []).append(delivery.event)
    return found


def wrong_calls(sink, calls):
    """What isn't as it must be, as texts: each event once, and in order."""
    by_call = deliveries_of(sink)
    wrong = []
    for call_id in calls:
        events = by_call.pop(call_id, [])
        numbers = [event["sequence"] for event in events]
        kinds = [event["event"] for event in events]
        if numbers != list(range(1, len(KINDS) + 1)) or sorted(kinds) != sorted(
            KINDS
        ):
            wrong.append(f"{call_id}: {list(zip(numbers, kinds))}")
    wrong += [f"{call_id}: nobody asked for it" for call_id in by_call]
    return wrong


def restart(node, slot, by_signal):
    """Replace one worker; seconds until the successor served, and its pid."""
    name, began = f"worker.{slot}", time.monotonic()
    before = node.pid(name)
    if by_signal:
        os.kill(before, signal.SIGHUP)
        after = node.wait_new_pid(name, before)
    else:
        node.ctl("restart", "worker", slot)
        after = node.pid(name)
    if after == before:
        raise RuntimeError(f"{name} is still {before}")
    return time.monotonic() - began, before


def restart_all(node, options):
    """The restarts one after the other; (seconds to serve, to leave)."""
    serving, leaving = [], []
    for i in range(options.restarts):
        seconds, old = restart(node, i % options.workers, options.hup)
        serving.append(seconds)
        began = time.monotonic()
        wait_until(
            lambda pid=old: not paths.process_lives(pid),
            f"process {old} to leave",
            60,
            0.05,
        )
        leaving.append(time.monotonic() - began)
        time.sleep(options.gap)
    return serving, leaving


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
    node.allow_restarts()
    node.ctl("migrate", "--dir", paths.SCHEMA)
    sipp = subprocess.Popen(
        [
            "sipp",
            "-sf",
            TOP / "tests" / "load" / "answer.xml",
            "-i",
            "127.0.0.1",
            "-p",
            str(pair.sipp_port),
            "-nostdin",
            "-nd",
            "-l",
            "10000",
            "-mp",
            str(ports.take_rtp()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    status = 1
    try:
        node.start()
        key = node.create_key(
            credits=10**6, rate_limit=10**6, trunks=("sipp",)
        )
        load = KeepAlive(
            node.base_url,
            key,
            sink.url,
            rate=options.rate,
            calls=options.calls,
            connections=options.connections,
            number=lambda n: f"1415{n:07d}",
            talk_s=options.talk,
        )
        load.start()
        time.sleep(options.gap)
        began = time.monotonic()
        serving, leaving = restart_all(node, options)
        took = time.monotonic() - began
        figures = load.stop()
        try:
            wait_until(
                lambda: not wrong_calls(sink, figures.calls),
                "all events",
                60,
                0.5,
            )
        except TimedOut:
            pass
        status = report(
            options,
            figures,
            wrong_calls(sink, figures.calls),
            (took, serving, leaving),
            node,
        )
    finally:
        faults = node.close()
        sink.close()
        sipp.kill()
        sipp.wait()
        for fault in faults:
            print("fault:", fault)
    return 1 if faults else status


def report(options, figures, wrong, times, node):
    """Print the table; the exit status."""
    took, serving, leaving = times
    log = node.log_text()
    rows = [
        ("restarts", f"{len(serving)} in {took:.0f} s"),
        ("requests", f"{figures.requests}"),
        ("requests failed", f"{len(figures.failures)}"),
        ("calls", f"{len(figures.calls)}"),
        ("calls with an event amiss", f"{len(wrong)}"),
        ("connections made", f"{figures.connects}"),
        ("  of them after an idle close", f"{figures.closed_idle}"),
        ("requests p50", f"{percentile(figures.latencies, .5) * 1e3:.1f} ms"),
        ("requests p99", f"{percentile(figures.latencies, .99) * 1e3:.1f} ms"),
        ("slowest request", f"{percentile(figures.latencies, 1) * 1e3:.0f} ms"),
        ("successor serves, p50", f"{percentile(serving, .5):.2f} s"),
        ("successor serves, longest", f"{percentile(serving, 1):.2f} s"),
        ("old one leaves, p50", f"{percentile(leaving, .5):.2f} s"),
        ("old one leaves, longest", f"{percentile(leaving, 1):.2f} s"),
        ("event streams resumed", str(log.count("event link up how=resumed"))),
        ("old ones ended unfinished", str(log.count("leaving unfinished"))),
    ]
    print(
        f"{options.rate} requests/s, {options.calls} of them calls, "
        f"{options.workers} workers"
    )
    for name, value in rows:
        print(f"  {name:30} {value:>14}")
    for line in wrong[:10]:
        print("amiss:", line)
    for line in figures.failures[:10]:
        print("failed:", line)
    return 0 if not wrong and not figures.failures else 1


def main():
    """Set the servers up, measure, take them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument(
        "--rate", type=int, default=200, help="requests a second"
    )
    parser.add_argument(
        "--calls", type=int, default=20, help="of them /makecall"
    )
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument(
        "--gap", type=float, default=2, help="seconds between restarts"
    )
    parser.add_argument(
        "--talk", type=float, default=3, help="seconds until /hangup"
    )
    parser.add_argument(
        "--hup", action="store_true", help="by SIGHUP, not by kaphilactl"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE"
    )
    options = parser.parse_args()
    root = paths.service("asterisk-root", "22", timeout_s=900)
    ports = Ports()
    pair, postgres = AsteriskPair(root, ports), Postgres(ports)
    pair.media.widen_rtp(options.calls * (int(options.talk) + 10) * 4)
    with tempfile.TemporaryDirectory(prefix="kaphila-load-") as folder:
        try:
            postgres.start()
            pair.media.start()
            return measure(
                options, Path(folder) / "node", ports, pair, postgres
            )
        finally:
            pair.media.remove()
            postgres.remove()


if __name__ == "__main__":
    sys.exit(main())
