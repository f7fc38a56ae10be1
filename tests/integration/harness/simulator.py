"""The ARI simulator and the event sink of tests/load, run as servers.

A Simulator stands in for a media Asterisk wherever a Kaphila asks for one, and
misbehaves when it is told to.
"""

import json
import os
import subprocess
import time

import requests

from . import paths, sanitizer
from .ari import Ari
from .invariants import Events
from .waiting import wait_until

ARI_SIM = paths.BUILD / "tests" / "ari-sim"
EVENT_SINK = paths.BUILD / "tests" / "event-sink"


class _Program:
    """One program of the build with a folder of its own, until close()."""

    def __init__(self, program, folder):
        self.folder = folder
        self.log_path = folder / f"{program.name}.log"
        self.totals = None  # of its end
        self._program = program
        self._sanitizer = folder / "sanitizer"
        self._process = None
        self._sanitizer.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self):
        """Its pid while it runs."""
        return self._process.pid

    def _run(self, arguments, ready):
        self.log_path.touch()
        lines = self._lines().count(ready) + 1
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                # It goes when this process goes, however that ends.
                ["setpriv", "--pdeathsig", "TERM", self._program]
                + [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=sanitizer.environment(self._sanitizer),
                start_new_session=True,
            )

        def is_ready():
            assert self._process.poll() is None, self._lines()
            return self._lines().count(ready) >= lines

        wait_until(is_ready, lambda: f"{ready}: {self._lines()}", 30)

    def _lines(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self):
        """End it in good order; the totals that it prints then."""
        if self._process is None:
            return self.totals
        self._process.terminate()
        code = self._process.wait(30)
        self._process = None
        reports = sanitizer.reports(self._sanitizer)
        reports += sanitizer.reports_in(self._lines())
        assert code == 0 and not reports, f"{code}: {self._lines()}{reports}"
        self.totals = json.loads(self._lines().splitlines()[-1])
        return self.totals

    def kill(self):
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._process = None

    def log_files(self):
        """(name, path) of each log."""
        return [(self._program.name, self.log_path)]


class Simulator(_Program):
    """An ari-sim. Nothing runs until start().

    version  22, or 20 and 16, which take commands over HTTP alone
    options  those of ari-sim --help, with _ for -: mix="answer=90,busy=10"
    """

    def __init__(self, ports, folder, version=22, **options):
        super().__init__(ARI_SIM, folder)
        self.http_port, self.control_port = ports.take(), ports.take()
        self.user, self.password = "kaphila", "test-password"
        self.version = version
        self.recording_dir = folder / "recording"
        self.recording_dir.mkdir(exist_ok=True)
        # As of an Asterisk: it has no sounds, and sees what everybody sees.
        self.sounds_dir = ""
        self.speech_dir = (folder / "speech", str(folder / "speech"))
        self._ports = ports
        self._options = options
        self._session = requests.Session()

    @property
    def url(self):
        """http://127.0.0.1:PORT, for asterisk.url."""
        return f"http://127.0.0.1:{self.http_port}"

    def ari(self):
        """A new ARI client; the caller closes it."""
        return Ari(self.url, self.user, self.password)

    def start(self):
        """Start it; ready when this returns."""
        options = {
            "listen": f"127.0.0.1:{self.http_port}",
            "control": f"127.0.0.1:{self.control_port}",
            "user": self.user,
            "password": self.password,
            "version": self.version,
            "recording_dir": self.recording_dir,
            **self._options,
        }
        arguments = []
        for name, value in options.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        self._run(arguments, "ari-sim: Asterisk")

    def close(self):
        """Stop it for good; the totals."""
        self._session.close()
        totals = self.stop()
        if self._ports is not None:
            self._ports.release(self.http_port, self.control_port)
            self._ports = None
        return totals

    def _control(self, method, path, **kwargs):
        response = self._session.request(
            method,
            f"http://127.0.0.1:{self.control_port}{path}",
            timeout=60,
            **kwargs,
        )
        assert response.status_code == 200, response.text
        return response.json()

    def state(self, brief=False):
        """What is there: channels, bridges, recordings, apps, connections,
        totals, and in "rung" how often each was originated, "by_channel" and
        "by_number". brief: without the lists that grow with the calls."""
        return self._control("GET", "/state" + ("?brief=1" if brief else ""))

    def fault(self, name, at="now", **details):
        """Arm a fault; its number. Details: app, number, channel, count,
        seconds, ms, bytes, status, timers, entity, graceful."""
        spec = {"fault": name, "at": at, **details}
        return self._control("POST", "/fault", json=spec)["id"]

    def faults(self):
        """Every fault so far, with how often it fired and is yet to fire."""
        return self._control("GET", "/faults")

    def fired(self, fault_id):
        """How often that fault fired."""
        return next(f["fired"] for f in self.faults() if f["id"] == fault_id)

    def clear_faults(self):
        """Forget those that wait for their moment."""
        self._control("DELETE", "/faults")

    def empty(self):
        """True if there is no channel, no bridge and no recording."""
        state = self.state()
        return not (
            state["channels"] or state["bridges"] or state["recordings"]
        )


class EventSink(_Program):
    """An event-sink. Nothing runs until start().

    path     the file of accepted events, appended to
    options  fail_percent, delay_ms, status
    """

    def __init__(self, ports, path, **options):
        super().__init__(EVENT_SINK, path.parent)
        self.port = ports.take()
        self.path = path
        self._ports = ports
        self._options = options

    @property
    def url(self):
        """The address for webhookUrl; takes ?fail-percent= and the like."""
        return f"http://127.0.0.1:{self.port}/hook"

    def start(self):
        """Start it; ready when this returns."""
        arguments = ["--listen", f"127.0.0.1:{self.port}", "--out", self.path]
        for name, value in self._options.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        self._run(arguments, "event-sink: on port")

    def close(self):
        """Stop it for good; the totals."""
        totals = self.stop()
        if self._ports is not None:
            self._ports.release(self.port)
            self._ports = None
        return totals

    def _get(self, path):
        response = requests.get(
            f"http://127.0.0.1:{self.port}{path}", timeout=60
        )
        assert response.status_code == 200, response.text
        return response.json()

    def count(self):
        """{"accepted","refused","bytes"} so far."""
        return self._get("/count")

    def timed_events(self):
        """(receive time in ns on the monotonic clock, event) of each that was
        accepted, repeats included, in the order of arrival."""
        if self._process is not None:
            self._get("/flush")
        if not os.path.exists(self.path):
            return []
        with open(self.path, encoding="utf-8") as file:
            pairs = (line.split(" ", 1) for line in file)
            return [(int(at), json.loads(text)) for at, text in pairs]

    def events(self):
        """The events, with the times when they came."""
        since_boot = time.time() - time.monotonic()
        return Events(
            [(since_boot + at / 1e9, event) for at, event in self.timed_events()]
        )
