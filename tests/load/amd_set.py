#!/usr/bin/python3
"""How well answering machines are told from humans, and how soon: greetings
made by amd_greetings.py, each played to a call with useAmd by the carrier of a
real pair of Asterisks. Prints what was right by kind, the time from the answer
to the verdict, and the shares for the table in shared/amd_words.c.

    tests/load/amd_set.py [--rounds 2] [--at-once 6] [--set KEY=VALUE ...]
                          [--list]

Uses the release build in build/ (KAPHILA_BUILD_DIR: another one) and Asterisk
22 (KAPHILA_TEST_ASTERISK: another one); needs espeak-ng, flite, festival and
sox. Exits with 1 if a greeting had no verdict, or one that says less than a
verdict must, or the node was not clean at its end; no figure makes it fail.
"""

import argparse
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
os.environ.setdefault("KAPHILA_BUILD_DIR", str(TOP / "build"))
sys.path.insert(0, str(TOP / "tests" / "integration"))
# pylint: disable=wrong-import-position
import amd_greetings  # noqa: E402
from harness import paths  # noqa: E402
from harness.asterisk import AsteriskPair  # noqa: E402
from harness.kaphila import Kaphila  # noqa: E402
from harness.ports import Ports  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.sink import WebhookSink  # noqa: E402

HUMAN_MEDIAN_S = 2.0  # the aim, for humans that are told apart
NUMBER = "1415777{:04}"
PLAYER = """
[carrier](+)
exten => _001415777XXXX,1,Answer(0,i)
 same => n,Playback(/srv/{name}/spool/amd/${{EXTEN:-4}})
 same => n,Wait(10)
 same => n,Hangup(16)
"""


def prepare(carrier, greetings, folder):
    """Give a carrier that runs the files, and the numbers that play them."""
    to = carrier.dir / "spool" / "amd"
    to.mkdir(parents=True)
    for greeting in greetings:
        amd_greetings.make(greeting, folder, to / f"{greeting.number:04}.wav")
    with open(
        carrier.dir / "etc" / "extensions.conf", "a", encoding="utf-8"
    ) as file:
        file.write(PLAYER.format(name=carrier.name))
    carrier.cli("dialplan reload")


def seconds_between(first, last):
    """Between two times of an event."""
    return (
        datetime.fromisoformat(last.replace("Z", "+00:00"))
        - datetime.fromisoformat(first.replace("Z", "+00:00"))
    ).total_seconds()


def read_verdict(told):
    """(status, cause, seconds from the answer) of a call.answered; ValueError
    for what is no verdict."""
    amd = told["amd"]
    status, cause = amd["status"], amd["cause"]
    seconds = seconds_between(told["answeredAt"], amd["decidedAt"])
    if (
        status not in ("HUMAN", "MACHINE", "UNKNOWN")
        or (status != "UNKNOWN" and not amd["detail"].startswith(cause + "-"))
        or (status != "UNKNOWN" and not 0 < amd["confidence"] <= 1)
        or seconds < 0
    ):
        raise ValueError(f"no verdict: {amd}, answered {told['answeredAt']}")
    return status, cause, seconds


class Callers:
    """Calls every greeting, a few at once.

    results   (greeting, status, cause, seconds) of each that had a verdict
    failures  (greeting, why) of each that had none
    """

    def __init__(self, node, sink, greetings):
        self._node, self._sink = node, sink
        self._key = node.create_key(credits=10**6, rate_limit=10**6)
        self._jobs = queue.Queue()
        for greeting in greetings:
            self._jobs.put(greeting)
        self.results = []
        self.failures = []

    def _call(self, client, greeting):
        call_id = client.make_call(
            NUMBER.format(greeting.number),
            webhookUrl=self._sink.url,
            useAmd=True,
            record=False,
        )
        told = self._sink.wait(call_id, "call.answered")
        client.post("/hangup", json={"callId": call_id})
        self.results.append((greeting, *read_verdict(told)))

    def _work(self):
        client = self._node.api(self._key)
        while True:
            try:
                greeting = self._jobs.get_nowait()
            except queue.Empty:
                return
            try:
                self._call(client, greeting)
            # whatever it is, the others are still to be called
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append((greeting, repr(error)))

    def run(self, at_once):
        """All of them."""
        threads = [threading.Thread(target=self._work) for _ in range(at_once)]
        for thread in threads:
            thread.start()
            time.sleep(0.2)
        for thread in threads:
            thread.join()

    def missing(self, greetings):
        """Those that have neither a result nor a failure."""
        done = {g.number for g, *_ in (*self.results, *self.failures)}
        return [g for g in greetings if g.number not in done]


def row(name, results):
    """One line of the table."""
    right = sum(status == g.wanted for g, status, _, _ in results)
    unknown = sum(status == "UNKNOWN" for _, status, _, _ in results)
    times = sorted(seconds for _, _, _, seconds in results)
    return (
        f"  {name:30} {len(results):5} {right:6} "
        f"{len(results) - right - unknown:6} {unknown:8} "
        f"{statistics.median(times):8.2f} "
        f"{times[int(len(times) * 0.9)]:8.2f}"
    )


def human_median(results):
    """In words, beside the aim."""
    times = [
        seconds
        for greeting, status, _, seconds in results
        if status == greeting.wanted == "HUMAN"
    ]
    if not times:
        return "no human was told apart"
    return (
        f"humans told apart within {statistics.median(times):.2f} s in the"
        f" median (aim: {HUMAN_MEDIAN_S:g} s)"
    )


def report(callers, greetings, listed):
    """Print all; the exit status."""
    kinds, wanted, causes = (defaultdict(list) for _ in range(3))
    for result in callers.results:
        kinds[result[0].kind].append(result)
        wanted["all " + result[0].wanted].append(result)
        if result[1] == result[0].wanted:
            wanted["  of them told apart, " + result[1]].append(result)
        causes[result[1:3]].append(result[1] == result[0].wanted)
    print(
        f"  {'':30} {'calls':>5} {'right':>6} {'wrong':>6} {'unknown':>8} "
        f"{'median s':>8} {'p90 s':>8}"
    )
    for name, results in [*kinds.items(), *wanted.items()]:
        print(row(name, results))
    print("  " + human_median(callers.results))
    print("  share of right verdicts by status and cause")
    for (status, cause), rights in sorted(causes.items()):
        share = sum(rights) / len(rights)
        print(f"    {status:8} {cause:16} {len(rights):5} {share:6.2f}")
    for greeting, status, cause, seconds in callers.results if listed else ():
        mark = " " if status == greeting.wanted else "*"
        print(f"  {mark} {status:8} {cause:14} {seconds:5.2f} {greeting}")
    missing = callers.missing(greetings)
    for greeting, error in callers.failures:
        print("no verdict:", greeting, error)
    for greeting in missing:
        print("never called:", greeting)
    return 1 if callers.failures or missing else 0


def measure(options, folder, ports, pair, postgres):
    """One run; the exit status."""
    greetings = amd_greetings.plan(options.rounds)
    prepare(pair.carrier, greetings, folder)
    sink = WebhookSink(ports)
    node = Kaphila(
        folder / "node",
        pair.media,
        Database(postgres, "kaphila"),
        ports,
        {
            "log.level": "info",
            **dict(text.split("=", 1) for text in options.set),
        },
    )
    node.ctl("migrate", "--dir", paths.SCHEMA)
    status = 1
    try:
        node.start()
        callers = Callers(node, sink, greetings)
        callers.run(options.at_once)
        status = report(callers, greetings, options.list)
    finally:
        faults = node.close()
        sink.close()
        for fault in faults:
            print("fault:", fault)
    return 1 if faults else status


def main():
    """Set the servers up, measure, take them down."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=2, help="times that each text is said"
    )
    parser.add_argument("--at-once", type=int, default=6, help="calls")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the configuration, such as amd.greeting_ms=2000",
    )
    parser.add_argument("--list", action="store_true", help="each call")
    options = parser.parse_args()
    version = os.environ.get("KAPHILA_TEST_ASTERISK", "22")
    root = paths.service("asterisk-root", version, timeout_s=900)
    ports = Ports()
    pair, postgres = AsteriskPair(root, ports), Postgres(ports)
    with tempfile.TemporaryDirectory(prefix="kaphila-load-") as folder:
        try:
            postgres.start()
            pair.start()
            return measure(options, Path(folder), ports, pair, postgres)
        finally:
            pair.remove()
            postgres.remove()


if __name__ == "__main__":
    sys.exit(main())
