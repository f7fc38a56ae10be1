"""kaphilactl, by which a running node is operated: restart, scale, drain,
reload, status --watch; and what the master says to what makes no sense."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
import requests
from harness import paths, sanitizer
from harness.waiting import wait_until
from test_calls import number
from test_processes import ctl_plain, hang_up, place, wait_whole

ROLES = ("worker", "webhookd", "recorder")


def human(kaphila, *args):
    """kaphilactl as a person runs it, on this node."""
    return ctl_plain(kaphila, "--config", str(kaphila.config_path), *args)


def said(done):
    """All that a finished process printed, for a failing assertion."""
    return f"{done.returncode}\n{done.stdout}\n{done.stderr}"


def pids(kaphila):
    """The pid of each child."""
    return {name: child["pid"] for name, child in kaphila.children().items()}


def ask(kaphila, line):
    """One line on the control socket; the answer, decoded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(kaphila.run_dir / "control.sock"))
        client.sendall(line.encode() + b"\n")
        got = b""
        while piece := client.recv(65536):
            got += piece
    return json.loads(got)


def reload(kaphila, **changes):
    """Change the file and reload; {key: (from, to, when)}."""
    kaphila.write_config(**changes)
    answer = kaphila.ctl("reload")
    assert answer["ok"] is True
    return {
        change["key"]: (change["from"], change["to"], change["when"])
        for change in answer["changed"]
    }


# --- restart, scale, operation ---


def test_restart_replaces_each_role(kaphila, sink):
    """One worker, webhookd, the recorder, all: each has another process
    afterwards, and nobody else; the steps are printed, the call lives."""
    kaphila.allow_restarts()
    key = kaphila.create_key()
    live = place(kaphila, key, sink, "10")
    sink.wait(live, "recording.started")
    for args, changed in (
        (("worker", "1"), {"worker.1"}),
        (("webhookd",), {"webhookd"}),
        (("recorder",), {"recorder"}),
        (("worker",), {"worker.0", "worker.1"}),
        (("all",), {"worker.0", "worker.1", "webhookd", "recorder"}),
    ):
        before = pids(kaphila)
        done = human(kaphila, "restart", *args)
        assert done.returncode == 0 and done.stderr == "", said(done)
        after = pids(kaphila)
        assert {n for n in before if before[n] != after[n]} == changed
        lines = done.stdout.splitlines()
        assert re.fullmatch(r"restart .*: done", lines[-1]), said(done)
        for name in changed:
            words = name.replace(".", " ")
            assert re.search(
                rf"^\d\d:\d\d:\d\d\.\d{{3}}  {words}: pid {after[name]} ",
                done.stdout,
                re.M,
            ), said(done)
    assert kaphila.api(key).get(f"/calls/{live}").status_code == 200
    hang_up(kaphila, key, [live])
    wait_whole(sink, live)


def test_operations_as_json(kaphila):
    """--json prints the operation when it is done; --no-wait only its
    number, by which it is followed later."""
    kaphila.allow_restarts()
    done = kaphila.ctl("restart", "worker", 0)
    assert (done["ok"], done["done"], done["failed"]) == (True, True, False)
    assert done["what"] == "restart worker 0" and done["error"] == ""
    assert done["steps"] and all(
        set(step) == {"at", "text"} for step in done["steps"]
    )
    begun = kaphila.ctl("restart", "all", "--no-wait")
    assert set(begun) == {"ok", "operation"}
    assert begun["operation"] > done["operation"]
    followed = kaphila.ctl("operation", begun["operation"])
    assert (followed["done"], followed["failed"]) == (True, False)
    shown = kaphila.ctl("operation", begun["operation"], "--no-wait")
    assert shown == followed
    as_text = human(kaphila, "operation", str(begun["operation"]))
    assert as_text.returncode == 0 and "restart all: done" in as_text.stdout
    unknown = human(kaphila, "operation", "4711")
    assert unknown.returncode == 1
    assert "no operation 4711" in unknown.stderr


@pytest.fixture
def own_programs(tmp_path, monkeypatch):
    """A folder with the programs of its own, which a test may replace."""
    folder = tmp_path / "programs"
    folder.mkdir()
    shutil.copy2(paths.MASTER, folder)
    for role in ROLES:
        shutil.copy2(paths.BUILD / role / f"kaphila-{role}", folder)
    monkeypatch.setattr(paths, "MASTER", folder / "kaphila-master")
    return folder


def test_restart_all_stops_at_the_first_failure(
    own_programs, asterisk, database, make_kaphila
):
    """A new program that doesn't get ready: every child is the one it was,
    which is said; with a good one all are replaced."""
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_restarts()
    program = own_programs / "kaphila-worker"
    good = own_programs / "good"
    program.rename(good)
    program.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    before = pids(kaphila)
    done = human(kaphila, "restart", "all")
    assert done.returncode == 1, said(done)
    assert "kaphilactl: restart all failed: worker 0: " in done.stderr
    assert "goes on as it was" in done.stderr
    assert "done" not in done.stdout
    assert pids(kaphila) == before
    as_json = kaphila.ctl("restart", "worker", 1, check=False)
    assert as_json.returncode == 1
    answer = json.loads(as_json.stdout)
    assert answer["done"] is True and answer["failed"] is True
    assert answer["error"].startswith("worker 1: ")
    assert kaphila.api().get("/health").status_code == 200

    good.rename(program)
    done = human(kaphila, "restart", "all")
    assert done.returncode == 0, said(done)
    after = pids(kaphila)
    assert not set(before.values()) & set(after.values())


def test_scale(kaphila):
    """Another number of workers, up and down; what the file says counts at
    the master's next start, which is told."""
    kaphila.allow_restarts()
    done = human(kaphila, "scale", "workers", "3")
    assert done.returncode == 0, said(done)
    assert "scale" in done.stdout and ": done" in done.stdout
    assert "http.workers in the configuration is 2" in done.stdout
    assert "worker.2" in pids(kaphila)
    assert reload(kaphila) == {"http.workers": ("3", "2", "master start")}
    again = kaphila.ctl("scale", "workers", 3, check=False)
    assert again.returncode == 1
    assert json.loads(again.stdout)["ok"] is False
    down = kaphila.ctl("scale", "workers", 1)
    assert down["done"] is True and down["failed"] is False
    wait_until(
        lambda: [n for n in pids(kaphila) if n.startswith("worker")]
        == ["worker.0"],
        lambda: f"one worker: {kaphila.status()}",
        60,
    )
    done = human(kaphila, "scale", "workers", "2")
    assert done.returncode == 0 and "http.workers" not in done.stdout


# --- what makes no sense ---


def test_wrong_arguments(kaphila):
    """Exit status 2, the reason and where the usage is, in two lines, for what
    no master needs to be asked about; nothing is done."""
    before = kaphila.status()["master"], pids(kaphila)
    for args, why in (
        (("restart",), "too few"),
        (("restart", "works"), "no role 'works'"),
        (("restart", "worker", "99"), "SLOT must be a number from 0 to 63"),
        (("restart", "worker", "-1"), "SLOT must be"),
        (("restart", "worker", "one"), "SLOT must be"),
        (("restart", "worker", "0", "1"), "too many"),
        (("restart", "webhookd", "0"), "only a worker has a slot"),
        (("restart", "all", "0"), "only a worker has a slot"),
        (("restart", "all", "--now"), "no option '--now'"),
        (("restart", "all", "--no-wait=1"), "takes no value"),
        (("scale", "workers"), "too few"),
        (("scale", "workers", "0"), "N must be a number from 1 to 64"),
        (("scale", "workers", "65"), "N must be"),
        (("scale", "workers", "abc"), "N must be"),
        (("scale", "workers", "2x"), "N must be"),
        (("scale", "workers", ""), "N must be"),
        (("scale", "recorders", "2"), "only workers can be scaled"),
        (("operation",), "too few"),
        (("operation", "0"), "NUMBER must be"),
        (("operation", "x"), "NUMBER must be"),
        (("drain", "now"), "too many"),
        (("resume", "now"), "too many"),
        (("reload", "now"), "too many"),
        (("reload", "--force"), "too many arguments: '--force'"),
        (("status", "--watch", "0"), "SECONDS must be"),
        (("status", "--watch=3601"), "SECONDS must be"),
        (("status", "--watch", "soon"), "too many"),
        (("status", "--look"), "no option '--look'"),
        (("keys",), "too few"),
        (("keys", "list", "all"), "too many"),
        (("keys", "set", "x", "--allow", ""), "--allow is empty"),
        (("trunks", "remove"), "too few"),
    ):
        done = human(kaphila, *args)
        assert done.returncode == 2, (args, said(done))
        assert why in done.stderr and done.stdout == "", (args, said(done))
        lines = done.stderr.splitlines()
        assert len(lines) == 2, (args, said(done))
        assert lines[1] == f"see kaphilactl {args[0]} --help"
    for args, why in (
        (("nonsense",), "no command 'nonsense'"),
        (("status", "--config"), "--config needs a value"),
    ):
        done = human(kaphila, *args)
        assert done.returncode == 2 and done.stdout == "", said(done)
        assert done.stderr.splitlines() == [
            f"kaphilactl: {why}",
            "see kaphilactl --help",
        ]
    master = kaphila.status()["master"]
    for field in ("configHash", "configLoadedAt", "pid", "paused"):
        assert master[field] == before[0][field]
    assert pids(kaphila) == before[1]


def test_help_of_each_command(kaphila):
    """Every command that the overview names has a usage, and is in the
    manual page, as are the exit status and the options."""
    overview = human(kaphila, "--help").stdout
    commands = re.findall(r"^  ([a-z]+)  ", overview, re.M)
    assert {
        "status",
        "restart",
        "scale",
        "operation",
        "drain",
        "resume",
        "reload",
        "migrate",
        "keys",
        "trunks",
    } == set(commands)
    page = (paths.TOP / "deploy/man/kaphilactl.8").read_text(encoding="utf-8")
    for command in commands:
        done = human(kaphila, command, "--help")
        assert done.returncode == 0 and f"kaphilactl {command}" in done.stdout
        assert re.search(rf"^\.(It )?Ic {command}\b", page, re.M), command
        for option in re.findall(r"--([a-z-]+)", done.stdout):
            assert f"Fl Fl {option}" in page, (command, option)


def test_trunks_table(kaphila, sink):
    """A limit that there isn't has the same word here and in the lists."""
    client = kaphila.client()
    call_id = client.make_call("14155550003", webhookUrl=sink.url)
    sink.wait(call_id, "call.ended")
    table = human(kaphila, "trunks").stdout
    row = r"^carrier +\d+ +unlimited +\d+/unlimited +closed "
    assert re.search(row, table, re.M), table
    heads, line = human(kaphila, "trunks", "list").stdout.splitlines()
    assert "MAX CALLS" in heads and line.count("unlimited") == 2
    widths = {len(line) for line in table.splitlines()}
    assert len(widths) == 1, table


def test_manual_page_has_every_key(kaphila):
    """kaphila.conf(5), as it is built, names each key of --dump-config."""
    dump = subprocess.run(
        [paths.MASTER, "--config", kaphila.config_path, "--dump-config"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=sanitizer.environment(kaphila.sanitizer_dir),
    ).stdout
    made = subprocess.run(
        [paths.MASTER, "--dump-man"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=sanitizer.environment(kaphila.sanitizer_dir),
    ).stdout
    keys = re.findall(r"^([a-z_]+) = ", dump, re.M)
    assert len(keys) > 50
    assert re.findall(r"^\.It Cm ([a-z_]+)$", made, re.M) == keys
    assert kaphila.database.url not in dump
    assert kaphila.asterisk.password not in dump
    page = paths.BUILD / "man" / "kaphila.conf.5"
    if page.exists():  # it is no target of a build of the programs alone
        assert made in page.read_text(encoding="utf-8")


def test_control_socket_refuses(kaphila):
    """Fields that are missing, wrong or nobody's: an error that names them,
    and nothing is done."""
    before = pids(kaphila)
    for request, why in (
        ("", "a request is"),
        ("[]", "a request is"),
        ('{"command":7}', "a request is"),
        ('{"command":"restart"', "a request is"),
        ('{"command":"nothing"}', "unknown command"),
        ('{"command":"status","deep":1}', "status has no field 'deep'"),
        ('{"command":"restart"}', "role must be"),
        ('{"command":"restart","role":1}', "role must be"),
        ('{"command":"restart","role":"boss"}', "no role 'boss'"),
        ('{"command":"restart","role":"all","slot":0}', "slot has no"),
        ('{"command":"restart","role":"worker","slot":"1"}', "slot must"),
        ('{"command":"restart","role":"worker","slot":0.5}', "slot must"),
        ('{"command":"restart","role":"worker","slot":-1}', "slot must"),
        ('{"command":"restart","role":"worker","slot":1e99}', "slot must"),
        ('{"command":"restart","role":"worker","slot":64}', "slot must"),
        ('{"command":"restart","role":"worker","slot":42}', "worker 42"),
        ('{"command":"restart","role":"worker","slto":1}', "field 'slto'"),
        ('{"command":"scale"}', "workers is missing"),
        ('{"command":"scale","workers":null}', "workers is missing"),
        ('{"command":"scale","workers":0}', "workers must be"),
        ('{"command":"scale","workers":65}', "workers must be"),
        ('{"command":"scale","workers":"3"}', "workers must be"),
        ('{"command":"operation"}', "operation is missing"),
        ('{"command":"operation","operation":0}', "operation must be"),
        ('{"command":"operation","operation":9}', "no operation 9"),
        ('{"command":"pause","role":"all"}', "pause has no field"),
        ('{"command":"reload","path":"/etc/passwd"}', "reload has no"),
    ):
        answer = ask(kaphila, request)
        assert answer["ok"] is False, request
        assert why in answer["error"], (request, answer)
    assert pids(kaphila) == before
    status = kaphila.status()
    assert status["master"]["paused"] is False


def test_idle_clients_keep_nobody_out(kaphila):
    """However many hold a connection to the control socket and say nothing,
    the next one is answered, well before their deadline."""
    idle = []
    try:
        for _ in range(100):
            # With a time limit, connect() would not wait for its turn.
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(kaphila.run_dir / "control.sock"))
            client.settimeout(20)
            idle.append(client)
        assert kaphila.status()["ok"] is True
        # The oldest had to go; whoever is left may still ask.
        assert idle[0].recv(1) == b""
    finally:
        for client in idle:
            client.close()


def test_no_master(asterisk, database, make_kaphila):
    """Exit status 3 and the reason, whatever is asked."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    kaphila.run_dir.mkdir()
    for args in (
        ("status",),
        ("restart", "all"),
        ("scale", "workers", "3"),
        ("operation", "1"),
        ("drain",),
        ("resume",),
        ("reload",),
    ):
        for options in ((), ("--json",)):
            done = human(kaphila, *options, *args)
            assert done.returncode == 3 or args[0] == "operation", said(done)
            assert "no master runs" in done.stderr and done.stdout == ""
            assert "--config" in done.stderr, said(done)
            assert "KAPHILA_RUN_DIR" in done.stderr, said(done)


# --- drain and resume ---


def test_drain_and_resume(kaphila, sink):
    """No new calls at any worker, also one that is started meanwhile; the
    live one goes on and can be hung up; then calls again."""
    kaphila.allow_restarts()
    key = kaphila.create_key()
    live = place(kaphila, key, sink, "10")
    sink.wait(live, "recording.started")
    done = human(kaphila, "drain")
    assert done.returncode == 0 and "no new calls" in done.stdout, said(done)
    assert kaphila.ctl("drain") == {"ok": True, "paused": True}
    assert kaphila.status()["master"]["paused"] is True
    assert "no new calls" in human(kaphila, "status").stdout

    def refused():
        answer = kaphila.api(key).post(
            "/makecall", json={"number": number("08")}
        )
        return answer.status_code == 503 and answer.json()["code"] == "DRAINING"

    wait_until(lambda: all(refused() for _ in range(8)), "503 everywhere")
    kaphila.ctl("restart", "worker")
    assert all(refused() for _ in range(8))
    assert kaphila.api(key).get(f"/calls/{live}").status_code == 200
    hang_up(kaphila, key, [live])
    wait_whole(sink, live)

    done = human(kaphila, "resume")
    assert done.returncode == 0 and "new calls" in done.stdout, said(done)
    assert kaphila.ctl("resume") == {"ok": True, "paused": False}
    wait_until(lambda: not any(refused() for _ in range(8)), "calls again")
    wait_whole(sink, place(kaphila, key, sink, "08"))


# --- reload ---


def test_reload_takes_effect(kaphila, sink):
    """Limits, defaults, permissions and the log of living processes change;
    none of them is restarted."""
    key = kaphila.create_key()
    before = pids(kaphila)
    status = kaphila.status()["master"]
    body = {"number": number("08"), "metadata": {"x": "y" * 900}}
    assert kaphila.api(key).post("/makecall", json=body).status_code == 200
    changed = reload(
        kaphila,
        http__max_body_bytes=1024,
        calls__ring_timeout_s=17,
        webhook__allow_loopback="false",
        log__level="info",
    )
    assert changed == {
        "http.max_body_bytes": ("65536", "1024", "now"),
        "calls.ring_timeout_s": ("30", "17", "now"),
        "webhook.allow_loopback": ("true", "false", "now"),
        "log.level": ("debug", "info", "now"),
    }
    body["metadata"]["z"] = "y" * 300
    client = kaphila.api(key)
    for _ in range(6):  # on connections of their own, so at any worker
        wait_until(
            lambda: kaphila.api(key).post("/makecall", json=body).status_code
            == 413,
            "the new limit",
        )
    answer = client.post(
        "/makecall", json={"number": number("08"), "webhookUrl": sink.url}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "INVALID_WEBHOOK_URL"
    answer = client.post("/makecall", json={"number": number("03")}).json()
    assert answer["ringTimeoutSeconds"] == 17
    # Nobody logs at the level debug any more, then everybody does.
    quiet = len(kaphila.log_text())
    assert client.get("/api/me").status_code == 200
    assert reload(kaphila, webhook__allow_loopback="true") == {
        "webhook.allow_loopback": ("false", "true", "now")
    }
    assert " debug " not in kaphila.log_text()[quiet:]
    done = human(kaphila, "reload")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "reloaded; no key changed\n",
        "",
    )
    loud = len(kaphila.log_text())
    reload(kaphila, log__level="debug")
    wait_until(
        lambda: client.get("/api/me").status_code == 200
        and all(
            re.search(rf" debug {who}\[", kaphila.log_text()[loud:])
            for who in ("worker.0", "worker.1", "webhookd", "recorder")
        ),
        "lines of the level debug",
    )
    after = kaphila.status()["master"]
    assert after["configHash"] != status["configHash"]
    assert after["configLoadedAt"] > status["configLoadedAt"]
    assert pids(kaphila) == before


def test_reload_reaches_webhookd(kaphila, sink):
    """What webhookd may connect to counts for the next delivery, also over
    a connection that it has kept."""
    key = kaphila.create_key()
    live = place(kaphila, key, sink, "10")
    sink.wait(live, "recording.started")
    reload(kaphila, webhook__allow_loopback="false")
    kaphila.wait_log("webhookd.*configuration taken over")
    hang_up(kaphila, key, [live])
    kaphila.wait_log(rf"webhookd.* not taken call={live} .*not allowed")
    assert "call.ended" not in sink.kinds(live)
    reload(kaphila, webhook__allow_loopback="true", webhook__concurrency=3)
    wait_whole(sink, live)
    reload(kaphila, webhook__allow_http="false")
    kaphila.wait_log("key=webhook.allow_http")
    answer = kaphila.api(key).post(
        "/makecall", json={"number": number("03"), "webhookUrl": sink.url}
    )
    assert answer.status_code == 400
    reload(kaphila, webhook__allow_http="true", webhook__concurrency=500)
    wait_whole(sink, place(kaphila, key, sink, "03"))


def test_reload_tells_when(kaphila):
    """Keys that a running process can't take over: told, and not forgotten
    while they wait; secrets are not shown; a child that starts later has
    its own."""
    kaphila.allow_restarts()
    secret = "f" * 40
    changed = reload(
        kaphila,
        store__commit_window_ms=9,
        asterisk__user="somebody",
        auth__pepper=secret,
        http__workers=3,
        supervision__drain_timeout_s=11,
    )
    assert changed == {
        "store.commit_window_ms": ("5", "9", "child start"),
        "asterisk.user": (kaphila.asterisk.user, "somebody", "child start"),
        "auth.pepper": ("********", "********", "master start"),
        "http.workers": ("2", "3", "master start"),
        "supervision.drain_timeout_s": ("30", "11", "now"),
    }
    # What waits for the master differs still; the rest is with it.
    assert set(reload(kaphila)) == {"auth.pepper", "http.workers"}
    done = human(kaphila, "reload")
    assert done.returncode == 0, said(done)
    assert "at the master's next start:\n" in done.stdout
    assert re.search(r"^  http\.workers +2 → 3$", done.stdout, re.M)
    assert re.search(r"^  auth\.pepper +\*{8} → \*{8}$", done.stdout, re.M)
    assert secret not in kaphila.log_text() + done.stdout
    # The living ones have the user that they were started with.
    assert kaphila.children()["worker.0"]["ariLink"] == "up"
    kaphila.write_config(asterisk__user=kaphila.asterisk.user)
    done = human(kaphila, "reload")
    assert (
        "at each child's next start (kaphilactl restart all):\n" in done.stdout
    )
    # Who has not started since is told apart.
    assert "restart all" in human(kaphila, "status").stdout
    kaphila.ctl("restart", "worker", 0)
    outdated = {
        name: child["configOutdated"]
        for name, child in kaphila.children().items()
    }
    assert outdated == {
        "worker.0": False,
        "worker.1": True,
        "webhookd": True,
        "recorder": True,
    }
    kaphila.ctl("restart", "all")
    assert "restart all" not in human(kaphila, "status").stdout


FAULTS = (
    ("http__workers", "0", "http.workers must be from 1 to 64, not 0"),
    ("http__idle_timeout_s", "soon", "must be a number, not 'soon'"),
    ("http__port", "3000", "unknown key http.port"),
    ("webhook__allow_http", "perhaps", "must be true or false"),
    ("calls__ring_timeout_min_s", "500", "is over calls.ring_timeout_max_s"),
    ("postgres__dsn", "host=db.example", "postgres.dsn: "),
    ("http__tls_certificate", "/none.pem", "go together"),
)


def test_reload_refuses_a_bad_file(kaphila):
    """Each fault is told with its line, by the master, and nothing changes:
    not even what else the file has anew."""
    key = kaphila.create_key()
    before = kaphila.status()["master"], pids(kaphila)
    good = dict(kaphila.settings)
    for name, value, why in FAULTS:
        kaphila.settings = dict(good)
        kaphila.write_config(calls__ring_timeout_s=99, **{name: value})
        text = kaphila.config_path.read_text(encoding="utf-8")
        line = 1 + text.splitlines().index(f"{name.split('__')[1]} = {value}")
        done = human(kaphila, "reload")
        assert done.returncode == 1 and done.stdout == "", said(done)
        assert f"{kaphila.config_path}:{line}: " in done.stderr, said(done)
        assert why in done.stderr and "nothing was changed" in done.stderr
        as_json = json.loads(kaphila.ctl("reload", check=False).stdout)
        assert as_json["ok"] is False and why in as_json["error"]
    kaphila.config_path.write_text("[http\nlisten", encoding="utf-8")
    assert ":1: is neither" in ask(kaphila, '{"command":"reload"}')["error"]
    kaphila.config_path.write_text("", encoding="utf-8")
    assert "is required" in ask(kaphila, '{"command":"reload"}')["error"]
    kaphila.config_path.unlink()
    gone = ask(kaphila, '{"command":"reload"}')
    assert gone["ok"] is False and "No such file" in gone["error"]
    kaphila.config_path.mkdir()
    folder = ask(kaphila, '{"command":"reload"}')
    assert folder["ok"] is False and "directory" in folder["error"]
    kaphila.config_path.rmdir()

    refused = " warn master.*configuration refused, nothing changed"
    count = len(re.findall(refused, kaphila.log_text()))
    os.kill(kaphila.pid(), signal.SIGHUP)
    wait_until(
        lambda: len(re.findall(refused, kaphila.log_text())) > count,
        "the refusal of what SIGHUP asked for",
    )
    kaphila.settings = good
    kaphila.write_config()
    after = kaphila.status()["master"]
    for field in ("configHash", "configLoadedAt"):
        assert after[field] == before[0][field]
    assert pids(kaphila) == before[1]
    answer = kaphila.api(key).post("/makecall", json={"number": number("03")})
    assert answer.json()["ringTimeoutSeconds"] == 30


def test_status_with_a_broken_file(kaphila):
    """The master is found by the file's run directory, whatever else is
    wrong in it."""
    text = kaphila.config_path.read_text(encoding="utf-8")
    kaphila.config_path.write_text(
        text + "[http]\nport = 3\n", encoding="utf-8"
    )
    assert kaphila.status()["master"]["pid"] == kaphila.pid()
    done = human(kaphila, "keys", "list")
    assert done.returncode == 1 and "unknown key http.port" in done.stderr
    kaphila.config_path.write_text(text, encoding="utf-8")


def test_sighup_reloads(kaphila):
    """SIGHUP to the master is a reload, in the log."""
    before = pids(kaphila)
    kaphila.write_config(calls__ring_timeout_s=44, log__format="json")
    os.kill(kaphila.pid(), signal.SIGHUP)
    kaphila.wait_log(
        r"configuration key changed key=log\.format from=text to=json when=now"
    )
    kaphila.wait_log('"role":"master".*"message":"configuration reloaded"')
    kaphila.wait_log('"role":"worker.1".*"message":"configuration taken over"')
    assert pids(kaphila) == before
    assert reload(kaphila, log__format="text") == {
        "log.format": ("json", "text", "now")
    }


def make_certificate(folder, name):
    """A key and a certificate of that common name, over the ones before."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
            "-subj", f"/CN={name}", "-keyout", folder / "key.pem",
            "-out", folder / "cert.pem",
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )  # fmt: skip


def subject(kaphila):
    """The subject of the certificate that the API shows, by openssl."""
    done = subprocess.run(
        [
            "openssl",
            "s_client",
            "-connect",
            kaphila.base_url.rpartition("/")[2],
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    found = re.search(r"^subject=(.*)$", done.stdout, re.M)
    return found[1] if found else None


def test_certificate_is_reloaded(kaphila, tmp_path):
    """From plain HTTP to TLS, to another certificate under the same name, and
    back, without a restart; one that doesn't load is refused."""
    before = pids(kaphila)
    plain = kaphila.api()
    assert plain.get("/health").status_code == 200
    make_certificate(tmp_path, "first.example")
    changed = reload(
        kaphila,
        http__tls_certificate=tmp_path / "cert.pem",
        http__tls_key=tmp_path / "key.pem",
    )
    assert set(changed) == {"http.tls_certificate", "http.tls_key"}
    for _ in range(4):  # of both workers
        wait_until(lambda: "first.example" in (subject(kaphila) or ""), "TLS")
    # A connection that was there before goes on as it began.
    assert plain.get("/health").status_code == 200
    secure = requests.Session()
    secure.trust_env, secure.verify = False, False
    url = kaphila.base_url.replace("http:", "https:")
    assert secure.get(f"{url}/health", timeout=20).status_code == 200
    make_certificate(tmp_path, "second.example")
    done = human(kaphila, "reload")
    assert done.stdout == (
        "reloaded; no key changed\nthe certificate was read anew\n"
    ), said(done)
    for _ in range(4):
        wait_until(
            lambda: "second.example" in (subject(kaphila) or ""),
            "the other certificate",
        )
    assert secure.get(f"{url}/health", timeout=20).status_code == 200
    secure.close()

    certificate = (tmp_path / "cert.pem").read_bytes()
    for broken in (b"", certificate[:-200], b"nonsense"):
        (tmp_path / "cert.pem").write_bytes(broken)
        done = human(kaphila, "reload")
        assert done.returncode == 1, said(done)
        assert "http.tls_certificate: " in done.stderr
        assert str(tmp_path / "cert.pem") in done.stderr
        assert re.search(r"kaphila\.conf:\d+: ", done.stderr)
        assert "second.example" in subject(kaphila)
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").unlink()
    done = human(kaphila, "reload")
    assert done.returncode == 1 and "http.tls_key: " in done.stderr

    del kaphila.settings["http.tls_certificate"]
    del kaphila.settings["http.tls_key"]
    assert len(reload(kaphila)) == 2
    for _ in range(4):
        wait_until(lambda: try_plain(kaphila), "plain HTTP again")
    assert pids(kaphila) == before


def try_plain(kaphila):
    """Whether a new plain connection is answered."""
    try:
        return requests.get(f"{kaphila.base_url}/health", timeout=5).ok
    except requests.RequestException:
        return False


# --- status --watch ---


def watch(kaphila, *options):
    """A kaphilactl status --watch 1 that runs."""
    return subprocess.Popen(
        [paths.CTL, "--config", kaphila.config_path, *options, "status",
         "--watch", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=sanitizer.environment(kaphila.sanitizer_dir),
    )  # fmt: skip


def read_until(process, wanted, lines=400):
    """Read lines until one is wanted; that one."""
    for _ in range(lines):
        line = process.stdout.readline()
        assert line, "the watch has ended"
        if wanted(line):
            return line
    raise AssertionError("no such line")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_watch(kaphila, options):
    """It goes on while the master is away, says so, finds the next one, and
    ends well on Ctrl-C."""
    process = watch(kaphila, *options)
    try:
        pid = f"{kaphila.pid()}"
        read_until(process, lambda line: pid in line)
        read_until(process, lambda line: pid in line)
        assert kaphila.stop() == 0
        line = read_until(process, lambda line: "no master runs" in line)
        if options:
            assert json.loads(line)["ok"] is False
        else:
            assert line.endswith("; trying again\n")
        kaphila.start()
        pid = f"{kaphila.pid()}"
        line = read_until(process, lambda line: pid in line)
        if options:
            assert json.loads(line)["master"]["pid"] == kaphila.pid()
        else:
            assert "\033" not in line
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0 and errors == ""
        assert time.monotonic() - started < 30
    finally:
        process.kill()
        process.communicate()
