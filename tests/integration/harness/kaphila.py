"""kaphila as a whole: the sanitizer build's master with its children, in a
folder of its own, against the real servers that it is given."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import time

import requests

from . import paths, sanitizer
from .waiting import TimedOut, wait_until

# Of this test process: node numbers are part of call ids and of the names of
# Stasis apps, so each kaphila on a shared Asterisk gets one of its own.
_nodes = itertools.count(1)
CONTROL_S = 10  # that the master has for an answer

DEFAULTS = {
    "log.level": "debug",
    "http.workers": 2,
    "store.map_size_mb": 64,
    "webhook.allow_http": "true",
    "webhook.allow_loopback": "true",
    "webhook.retry_min_ms": 100,
    "webhook.retry_max_ms": 1000,
    "recorder.retry_ms": 200,
    "asterisk.reconnect_min_ms": 50,
    "asterisk.reconnect_max_ms": 500,
    "supervision.ready_timeout_s": 60,
    "supervision.heartbeat_timeout_s": 30,
    "auth.pepper": "0123456789abcdef0123456789abcdef",
}


def control(run_dir, **request):
    """One request on a master's control socket; its decoded answer. OSError;
    ValueError where the master ended instead."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(CONTROL_S)
        link.connect(str(run_dir / "control.sock"))
        link.sendall(json.dumps(request).encode() + b"\n")
        with link.makefile("rb") as answer:
            return json.loads(answer.readline())


class Api(requests.Session):
    """requests.Session on one base URL, with one key (or none)."""

    def __init__(self, base_url, key=None):
        super().__init__()
        self.base_url = base_url
        self.key = key
        if key is not None:
            self.headers["Authorization"] = f"Bearer {key}"

    def request(
        self, method, url, **kwargs
    ):  # pylint: disable=arguments-differ
        """`url` is a path; 20 s unless a timeout is given."""
        kwargs.setdefault("timeout", 20)
        return super().request(method, self.base_url + url, **kwargs)

    def make_call(self, number, **body):
        """POST /makecall that must succeed; the callId."""
        response = self.post("/makecall", json={"number": number, **body})
        assert response.status_code == 200, response.text
        return response.json()["callId"]

    # Control of a live call: each returns requests' response, whatever its
    # status. `body` has the optional fields, by their names in the API.

    def voice(self, call_id, text, **body):
        """POST /voice."""
        return self.post(
            "/voice", json={"callId": call_id, "text": text, **body}
        )

    def play(self, call_id, file, **body):
        """POST /play."""
        return self.post(
            "/play", json={"callId": call_id, "file": file, **body}
        )

    def gather(self, call_id, **body):
        """POST /gather, with `text` or `file`."""
        return self.post("/gather", json={"callId": call_id, **body})

    def stop_playback(self, call_id):
        """DELETE /calls/:callId/playback."""
        return self.delete(f"/calls/{call_id}/playback")

    def hangup(self, call_id):
        """POST /hangup."""
        return self.post("/hangup", json={"callId": call_id})

    def forward(self, call_id, number):
        """POST /forwardcall."""
        return self.post(
            "/forwardcall", json={"callId": call_id, "forwardNumber": number}
        )

    def batch(self, calls):
        """POST /batchcall with a list of bodies."""
        return self.post("/batchcall", json={"calls": calls})


class Kaphila:
    """One node. Nothing runs until start().

    folder    its own: configuration, logs, data, run directory
    asterisk  an Asterisk of kind "media"
    database  a migrated Database
    settings  {"section.key": value} over DEFAULTS
    """

    def __init__(self, folder, asterisk, database, ports, settings=None):
        self.folder = folder
        self.asterisk = asterisk
        self.database = database
        self._ports = ports
        self._http_port, self._admin_port = ports.take(), ports.take()
        self.base_url = f"http://127.0.0.1:{self._http_port}"
        self.admin_url = f"http://127.0.0.1:{self._admin_port}"
        self.run_dir = folder / "run"
        self.data_dir = folder / "data"
        self.recordings_dir = self.data_dir / "recordings"
        self.log_path = folder / "kaphila.log"
        self.config_path = folder / "kaphila.conf"
        self.sanitizer_dir = folder / "sanitizer"
        for path in (self.data_dir, self.sanitizer_dir):
            path.mkdir(parents=True)
        # Of its own, so that no other node's speech is found there.
        speech_here, speech_inside = asterisk.speech_dir
        speech_name = f"{folder.parent.name}-{folder.name}"
        self.speech_dir = speech_here / speech_name
        speech_here.mkdir(parents=True, exist_ok=True)
        self.settings = {
            **DEFAULTS,
            "node.id": _node_id(),
            "node.run_dir": self.run_dir,
            "node.data_dir": self.data_dir,
            "http.listen": f"127.0.0.1:{self._http_port}",
            "admin.listen": f"127.0.0.1:{self._admin_port}",
            "postgres.dsn": database.url,
            "asterisk.url": asterisk.url,
            "asterisk.user": asterisk.user,
            "asterisk.password": asterisk.password,
            "asterisk.recording_dir": asterisk.recording_dir,
            "asterisk.sounds_dirs": asterisk.sounds_dir,
            "speech.engines": "espeak",
            "speech.dir": self.speech_dir,
            "speech.asterisk_dir": f"{speech_inside}/{speech_name}",
            **(settings or {}),
        }
        self.write_config()
        self._env = sanitizer.environment(self.sanitizer_dir)
        self._env["KAPHILA_RUN_DIR"] = str(self.run_dir)
        self._process = None
        self._allowed_errors = []
        self._restarts_allowed = False
        self._sessions = []

    def write_config(self, **changes):
        """Write the configuration file; changes as section__key=value."""
        self.settings.update(
            {key.replace("__", ".", 1): value for key, value in changes.items()}
        )
        sections = {}
        for key, value in self.settings.items():
            section, _, name = key.partition(".")
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        self.config_path.write_text(
            "".join(
                f"[{name}]\n{''.join(keys)}\n"
                for name, keys in sections.items()
            ),
            encoding="utf-8",
        )

    # --- running ---

    def start(self, wait_ready=True, timeout_s=60.0):
        """Start the master; with wait_ready until /ready is 200."""
        with open(self.log_path, "ab") as log:
            # The master goes when this process goes, however that ends.
            self._process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "TERM",
                    paths.MASTER,
                    "--config",
                    self.config_path,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        if wait_ready:
            self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s=60.0):
        """Until /ready says 200 and every worker has its links: /ready is
        answered by any one of them, for itself."""
        last = ["no answer"]

        def ready():
            if self._process.poll() is not None:
                raise AssertionError(
                    f"the master ended: {self._process.returncode}"
                )
            try:
                response = requests.get(f"{self.admin_url}/ready", timeout=5)
            except requests.RequestException as error:
                last[0] = str(error)
                return False
            last[0] = response.text
            return response.status_code == 200

        wait_until(ready, lambda: f"/ready; last: {last[0]}", timeout_s, 0.05)
        wait_until(
            lambda: all(
                child["state"] == "ready" and _links_up(child)
                for child in self.status()["children"]
            ),
            lambda: f"every link; last: {self.status()}",
            timeout_s,
            0.05,
        )

    @property
    def running(self):
        """True while the master lives."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_s=60.0):
        """SIGTERM, and wait; the exit status. Checks nothing by itself."""
        if not self.running:
            return self._process.returncode if self._process else None
        self._process.terminate()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimedOut(
                f"waited {timeout_s:g} s for the master to end"
            ) from error

    def kill(self):
        """SIGKILL the master, and wait until its children noticed."""
        pids = paths.child_pids(self._process.pid)
        self._process.kill()
        self._process.wait()
        wait_until(
            lambda: not any(paths.process_lives(pid) for pid in pids),
            "the children to notice the master's death",
            60,
        )

    def restart(self):
        """stop() and start(), on the same data."""
        assert self.stop() == 0
        self.start()

    # --- talking to it ---

    def api(self, key=None):
        """A new Api session; it is closed with this kaphila."""
        session = Api(self.base_url, key)
        self._sessions.append(session)
        return session

    def admin(self, path):
        """GET on the admin listener; requests' response."""
        return requests.get(self.admin_url + path, timeout=20)

    def ctl(self, *args, check=True):
        """kaphilactl ... --json, decoded; with check=False the finished
        process, whatever its exit status."""
        done = subprocess.run(
            [
                paths.CTL,
                "--config",
                self.config_path,
                "--json",
                *map(str, args),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env=self._env,
            check=False,
        )
        assert not sanitizer.reports_in(done.stderr), done.stderr
        if not check:
            return done
        assert (
            done.returncode == 0
        ), f"kaphilactl {args}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def create_key(
        self, name="test", credits=1000, rate_limit=100000, trunks=("carrier",)
    ):
        """A new API key with its trunks; the key in clear."""
        made = self.ctl(
            "keys",
            "create",
            name,
            "--credits",
            credits,
            "--rate-limit",
            rate_limit,
        )
        for trunk in trunks:
            self.add_trunk(trunk)
            self.ctl("trunks", "assign", made["keyId"], trunk)
        return made["key"]

    def add_trunk(self, name, *options):
        """`trunks add`, unless there is a trunk of that name."""
        if not self.database.query(
            "SELECT 1 FROM trunks WHERE name = %s", (name,)
        ):
            self.ctl("trunks", "add", name, *options)

    def client(self, **key_options):
        """An Api session with a new key: create_key() and api() in one."""
        return self.api(self.create_key(**key_options))

    # --- looking inside ---

    def status(self):
        """What `kaphilactl status` is told, asked for by ourselves: a program
        with the sanitizers takes 200 ms to begin and end, and this is asked for
        again and again. AssertionError if the master doesn't answer."""
        try:
            answer = control(self.run_dir, command="status")
        except (OSError, ValueError) as error:
            raise AssertionError(f"no status: {error}") from error
        assert answer["ok"], answer
        return answer

    def children(self):
        """The children of status(), as a dict: "worker.0", "webhookd" ..."""
        return {
            _child_name(child): child for child in self.status()["children"]
        }

    def pid(self, name="master"):
        """The pid of "master" or of a child, such as "worker.0"."""
        if name == "master":
            return self._process.pid
        return self.children()[name]["pid"]

    def signal(self, name, number=signal.SIGKILL):
        """Send a signal to a process; its pid. Ends that are asked for this
        way are no fault of the test's."""
        pid = self.pid(name)
        self.allow_restarts()
        os.kill(pid, number)
        return pid

    def wait_new_pid(self, name, old_pid, timeout_s=60.0):
        """Until a child that was ended is ready again; its new pid."""

        def back():
            child = self.children().get(name, {})
            if child.get("state") == "ready" and child.get("pid") != old_pid:
                return child["pid"]
            return None

        return wait_until(back, f"a new {name}", timeout_s, 0.05)

    def metrics(self):
        """The admin listener's /metrics as {"name{labels}": value}."""
        found = {}
        for line in self.admin("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def log_text(self):
        """All that was logged so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_log(self, pattern, timeout_s=30.0):
        """Until a line matches the regular expression; the match."""
        return wait_until(
            lambda: re.search(pattern, self.log_text()),
            f"a log line like {pattern!r}",
            timeout_s,
        )

    def log_files(self):
        """(name, path) of each log."""
        return [("kaphila", self.log_path)]

    # --- the end ---

    def allow_errors(self, pattern=""):
        """Lines of level error that match are expected in this test."""
        self._allowed_errors.append(re.compile(pattern))

    def allow_restarts(self):
        """Children may end and come back in this test."""
        self._restarts_allowed = True

    def close(self):
        """Stop it and return what was wrong with it, as a list of texts."""
        faults = []
        for session in self._sessions:
            session.close()
        if self.running:
            faults += self._restart_faults()
            started = time.monotonic()
            try:
                code = self.stop()
                if code != 0:
                    faults.append(f"the master's exit status was {code}")
            except TimedOut as error:
                faults.append(f"{error} ({time.monotonic() - started:.0f} s)")
        faults += sanitizer.reports(self.sanitizer_dir)
        faults += [
            f"core file {path}"
            for path in self.folder.rglob("core*")
            if path.is_file()
        ]
        faults += self._error_lines()
        self._ports.release(self._http_port, self._admin_port)
        return faults

    def _restart_faults(self):
        if self._restarts_allowed:
            return []
        try:
            children = self.status()["children"]
        except AssertionError as error:
            return [str(error)]
        return [
            f"{_child_name(child)} ended by itself: {child.get('lastExit')}"
            for child in children
            if child.get("restarts") or child.get("lastExit")
        ]

    def _error_lines(self):
        if not self.log_path.exists():
            return []
        text = self.log_text()
        return sanitizer.reports_in(text) + [
            f"logged: {line}"
            for line in text.splitlines()
            if (
                re.match(r"\S+ error ", line)
                or (not self._restarts_allowed and "ending a child" in line)
            )
            and not any(
                allowed.search(line) for allowed in self._allowed_errors
            )
        ]


def _links_up(child):
    return (
        child["role"] != "worker" or child["ariLink"] == child["pgLink"] == "up"
    )


def _child_name(child):
    if child["role"] == "worker":
        return f"worker.{child['slot']}"
    return child["role"]


def _node_id():
    """Distinct over the xdist workers, too: 1..999."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return (
        (int(re.sub(r"\D", "", worker) or 0) % 10) * 99 + next(_nodes) % 99 + 1
    )
