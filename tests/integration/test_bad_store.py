"""Bad input at a start: a store, a statistics file or a run directory that is
not what it should be. Each gives one clear line and exit status 1, or is made
anew where nothing is lost by it; never children that die over and over, never
a loss without a word."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import paths, sanitizer
from harness.waiting import wait_until
from test_api import refused
from test_calls import number

STORE_SPOIL = paths.BUILD / "tests" / "store-spoil"
PAGE = 4096
LOST = "move the folder away: the calls that are live in it are lost then"


def spoil(kaphila, how):
    """Have store-spoil change the store of a kaphila that doesn't run."""
    subprocess.run(
        [
            STORE_SPOIL,
            kaphila.data_dir,
            str(kaphila.settings["store.map_size_mb"]),
            how,
        ],
        stdin=subprocess.DEVNULL,
        timeout=120,
        env=sanitizer.environment(kaphila.sanitizer_dir),
        check=True,
    )


def write_at(path, at, data):
    """Overwrite bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def wait_end(kaphila, timeout_s=60):
    """Until the master has ended; its exit status, and what it logged since
    it began."""
    wait_until(
        lambda: not kaphila.running, "the master to end by itself", timeout_s
    )
    return kaphila.stop(), kaphila.log_text()


def start_refused(kaphila, *words):
    """A start that must fail, before any child, with one line."""
    kaphila.allow_errors()
    before = len(kaphila.log_text()) if kaphila.log_path.exists() else 0
    kaphila.start(wait_ready=False)
    code, log = wait_end(kaphila)
    said = log[before:]
    assert code == 1, said
    lines = [line for line in said.splitlines() if " error " in line]
    assert len(lines) == 1, said
    for word in words:
        assert word in lines[0], said
    assert "started child=" not in said
    assert not sanitizer.reports(kaphila.sanitizer_dir), said
    return lines[0]


def used_store(kaphila, sink):
    """A store that has been written to, of a kaphila that has ended; the file
    with the records in it."""
    kaphila.start()
    client = kaphila.client()
    live = client.make_call(number("04"), webhookUrl=sink.url)
    sink.wait(live, "call.ringing")
    assert kaphila.stop() == 0
    return kaphila.data_dir / "store" / "data.mdb"


def cut(path):
    """The first half alone."""
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def wipe_pages(path):
    """Every page but the heads."""
    size = path.stat().st_size
    write_at(path, 2 * PAGE, bytes(size - 2 * PAGE))


def other_version(path):
    """The number of LMDB's format, in both heads."""
    for page in (0, 1):
        write_at(path, page * PAGE + 20, b"\x63\0\0\0")


def folder_in_its_place(path):
    """…with the same name."""
    path.unlink()
    path.mkdir()


SPOILED = {
    "cut short": (cut, "cut short", LOST),
    "cut to one page": (lambda path: os.truncate(path, PAGE), LOST),
    "empty": (lambda path: os.truncate(path, 0), "empty", LOST),
    "no store": (lambda path: path.write_bytes(b"x" * 9 * PAGE), LOST),
    "another LMDB's": (
        other_version,
        "of another version of LMDB",
        "Start the program that wrote it",
    ),
    "wiped pages": (wipe_pages, LOST),
    "a folder": (folder_in_its_place, "no regular file"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_file(asterisk, database, make_kaphila, sink, how):
    """Refused, again and again, as often as it is started; with the file put
    back all is as it was."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    file = used_store(kaphila, sink)
    kept = file.with_name("kept")
    shutil.copyfile(file, kept)
    change, *words = SPOILED[how]
    change(file)
    for _ in range(2):
        start_refused(kaphila, str(kaphila.data_dir / "store"), *words)
    if file.is_dir():
        file.rmdir()
    os.replace(kept, file)
    kaphila.start()
    (live,) = {event["callId"] for event in sink.events()}
    client = kaphila.api(database_key(kaphila))
    assert client.post("/hangup", json={"callId": live}).status_code == 200
    assert sink.wait(live, "call.ended")["endReason"] == "api_hangup"


def database_key(kaphila):
    """The key that used_store() made: kept by the session that it used."""
    return kaphila._sessions[0].key  # pylint: disable=protected-access


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("newer-call", ("of calls has version 3, this program knows 2",)),
        ("other-layout", ("layout 77, this program knows",)),
    ],
)
def test_a_store_of_another_version(
    asterisk, database, make_kaphila, sink, how, words
):
    """Refused: what this program doesn't know it would cut off."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    used_store(kaphila, sink)
    spoil(kaphila, how)
    start_refused(kaphila, *words, "Start the program that wrote it")


def test_a_store_moved_away(asterisk, database, make_kaphila, sink):
    """What the line advises: a new one is made, which the log tells; credits
    go on from PostgreSQL's, and the stray channel is hung up."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    file = used_store(kaphila, sink)
    cut(file)
    start_refused(kaphila, LOST)
    shutil.move(file.parent, kaphila.folder / "store.bad")
    kaphila.start()
    kaphila.wait_log("made a new call table")
    client = kaphila.api(database_key(kaphila))
    assert client.get("/calls").json()["totalCalls"] == 0
    call_id = client.make_call(number("08"), webhookUrl=sink.url)
    assert sink.wait(call_id, "call.ended")["status"] == "completed"
    sink.wait(call_id, "recording.completed")
    ari = asterisk.media.ari()
    wait_until(lambda: not ari.get("channels"), "the stray's end", 30)
    ari.close()


def test_a_full_map(asterisk, database, make_kaphila, sink):
    """Children run and answer 503 OVERLOADED, none ends; with a larger map
    all goes on where it was."""
    kaphila = make_kaphila(
        asterisk.media, database, {"store.map_size_mb": 16}, start=False
    )
    kaphila.allow_errors()
    used_store(kaphila, sink)
    spoil(kaphila, "full")
    kaphila.start(wait_ready=False)
    client = kaphila.api(database_key(kaphila))
    wait_until(lambda: ready_children(kaphila) == 4, "the children")
    answer = client.post("/makecall", json={"number": number("03")})
    refused(answer, 503, "OVERLOADED")
    kaphila.wait_log("call table nearly full: no new calls")
    wait_until(
        lambda: all(c["uptimeMs"] > 3000 for c in kaphila.status()["children"]),
        "children that live",
    )
    assert all(not c["restarts"] for c in kaphila.status()["children"])
    assert kaphila.stop() == 0

    kaphila.write_config(store__map_size_mb=64)
    kaphila.start()
    (live,) = {event["callId"] for event in sink.events()}
    assert client.post("/hangup", json={"callId": live}).status_code == 200
    assert sink.wait(live, "call.ended")["endReason"] == "api_hangup"
    call_id = client.make_call(number("03"), webhookUrl=sink.url)
    sink.wait(call_id, "call.ended")


def ready_children(kaphila):
    """How many children are ready."""
    done = kaphila.ctl("status", check=False)
    if done.returncode != 0:
        return 0
    return done.stdout.count('"ready"')


@contextmanager
def small_disk(size="4m"):
    """A file system of that size."""
    folder = Path(tempfile.mkdtemp(prefix="kaphila-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        check=False,
        capture_output=True,
    )
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip("a file system can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
        folder.rmdir()


def fill_disk(folder, leave=0):
    """Take all room but `leave` bytes; the file that takes it."""
    filler = folder / "filler"
    stat = os.statvfs(folder)
    with open(filler, "wb", buffering=0) as file:
        try:
            os.posix_fallocate(
                file.fileno(), 0, stat.f_bavail * stat.f_frsize - leave
            )
        except OSError as error:
            assert error.errno == 28
    return filler


@pytest.mark.parametrize("leave", [0, 8 * PAGE, 18 * PAGE])
def test_a_full_disk_at_the_first_start(
    asterisk, database, make_kaphila, leave
):
    """No room for a store, or for half of one: refused, and made once there
    is room."""
    with small_disk() as disk:
        kaphila = make_kaphila(
            asterisk.media, database, {"node.data_dir": disk}, start=False
        )
        (disk / "store").mkdir()
        filler = fill_disk(disk, leave)
        start_refused(kaphila, str(disk), "Make room on the disk")
        filler.unlink()
        for left in (disk / "store").iterdir():
            assert left.name in ("lock.mdb", "data.mdb")
        kaphila.start()
        assert kaphila.stop() == 0


def test_a_full_disk_at_a_later_start(asterisk, database, make_kaphila, sink):
    """With a store that is there: it runs, takes no new calls until there is
    room, and nothing dies of it."""
    with small_disk("32m") as disk:
        kaphila = make_kaphila(
            asterisk.media, database, {"node.data_dir": disk}, start=False
        )
        kaphila.data_dir = disk
        kaphila.allow_errors()
        used_store(kaphila, sink)
        filler = fill_disk(disk)
        kaphila.start(wait_ready=False)
        wait_until(lambda: ready_children(kaphila) == 4, "the children")
        client = kaphila.api(database_key(kaphila))
        body = {"number": number("03"), "webhookUrl": sink.url}
        refused(client.post("/makecall", json=body), 503, "OVERLOADED")
        assert all(not c["restarts"] for c in kaphila.status()["children"])
        filler.unlink()
        kaphila.wait_ready()
        call_id = wait_until(
            lambda: client.post("/makecall", json=body).json().get("callId"),
            "a call again",
        )
        sink.wait(call_id, "call.ended")
        assert kaphila.stop() == 0


def test_a_full_run_directory(asterisk, database, make_kaphila):
    """The statistics file is memory that all write to: its room is taken at
    the start, or there is none."""
    with small_disk("1m") as disk:
        kaphila = make_kaphila(
            asterisk.media, database, {"node.run_dir": disk}, start=False
        )
        kaphila.run_dir = disk
        filler = fill_disk(disk, 8 * PAGE)
        start_refused(kaphila, "stats.shm", "No space left on device")
        filler.unlink()


@contextmanager
def as_nobody(kaphila, data_dir):
    """A configuration and a run directory of the user nobody's."""
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="kaphila-nobody-"))
    run_dir = folder / "run"
    run_dir.mkdir()
    for path in (folder, run_dir):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    kaphila.write_config(node__run_dir=run_dir, node__data_dir=data_dir)
    config = folder / "kaphila.conf"
    shutil.copyfile(kaphila.config_path, config)
    try:
        yield [
            "setpriv",
            f"--reuid={nobody.pw_uid}",
            f"--regid={nobody.pw_gid}",
            "--clear-groups",
            paths.MASTER,
            "--config",
            config,
        ]
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give rights up")
@pytest.mark.parametrize("what", ["the folder", "the file", "the lock file"])
def test_without_rights(asterisk, database, make_kaphila, what):
    """Refused with the path and the reason."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    nobody = pwd.getpwnam("nobody")
    data = Path(tempfile.mkdtemp(prefix="kaphila-data-"))
    store = data / "store"
    store.mkdir()
    try:
        with as_nobody(kaphila, data) as command:
            for path in (data, store):
                if what != "the folder":
                    os.chown(path, nobody.pw_uid, nobody.pw_gid)
                path.chmod(0o700)
            if what != "the folder":
                made = "data.mdb" if what == "the file" else "lock.mdb"
                (store / made).write_bytes(b"x" * PAGE)
                (store / made).chmod(0o600)
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                env=sanitizer.environment(Path("/tmp")),
            )
    finally:
        shutil.rmtree(data)
    assert done.returncode == 1, done.stderr
    assert str(store) in done.stderr
    assert "Permission denied" in done.stderr
    assert "started child=" not in done.stderr


# --- the run directory ---


@pytest.mark.parametrize("how", ["cut short", "another layout", "noise"])
def test_a_statistics_file_of_another_kind(
    asterisk, database, make_kaphila, how
):
    """Made anew: it has nothing that must last."""
    kaphila = make_kaphila(asterisk.media, database)
    assert kaphila.stop() == 0
    file = kaphila.run_dir / "stats.shm"
    size = file.stat().st_size
    if how == "cut short":
        os.truncate(file, 1000)
    elif how == "another layout":
        write_at(file, 8, b"\xff\xff\0\0")
    else:
        file.write_bytes(os.urandom(size))
    kaphila.start()
    assert file.stat().st_size == size
    assert all(not c["restarts"] for c in kaphila.status()["children"])


@pytest.mark.parametrize("how", ["a folder", "a link"])
def test_something_else_in_the_place_of_the_statistics(
    asterisk, database, make_kaphila, tmp_path, how
):
    """Refused; what a link points to is not touched."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    file = kaphila.run_dir / "stats.shm"
    kaphila.run_dir.mkdir()
    other = tmp_path / "other"
    other.write_text("kept", encoding="utf-8")
    if how == "a folder":
        file.mkdir()
    else:
        file.symlink_to(other)
    start_refused(kaphila, str(file))
    assert other.read_text(encoding="utf-8") == "kept"


def test_a_second_master_on_the_same_address(
    kaphila, asterisk, database, make_kaphila
):
    """All else is its own; the first serves on."""
    for key in ("http.listen", "admin.listen"):
        other = make_kaphila(
            asterisk.media, database, {key: kaphila.settings[key]}, start=False
        )
        start_refused(other, kaphila.settings[key])
    assert kaphila.api().get("/health").status_code == 200
    assert all(not c["restarts"] for c in kaphila.status()["children"])


def test_another_node_id(asterisk, database, make_kaphila, sink):
    """The store's calls and its count of charges are the node's that made
    them: refused, and everything goes on with the number that it was."""
    kaphila = make_kaphila(asterisk.media, database)
    client = kaphila.client(credits=5)
    call_id = client.make_call(number("10"), webhookUrl=sink.url)
    sink.wait(call_id, "recording.started")
    assert kaphila.stop() == 0
    node = kaphila.settings["node.id"]
    other = node % 999 + 1
    kaphila.write_config(node__id=other)
    start_refused(kaphila, f"node.id is {other}", f"node {node}'s")
    kaphila.write_config(node__id=node)
    kaphila.start()
    assert client.get(f"/calls/{call_id}").json()["status"] == "answered"
    client.post("/hangup", json={"callId": call_id})
    ended = sink.wait(call_id, "call.ended")
    assert ended["endReason"] == "api_hangup"


def test_too_few_descriptors(asterisk, database, make_kaphila):
    """No child could be started: one line, instead of starts for ever."""
    kaphila = make_kaphila(asterisk.media, database, start=False)
    done = subprocess.run(
        ["prlimit", "--nofile=160:160", paths.MASTER]
        + ["--config", kaphila.config_path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=sanitizer.environment(kaphila.sanitizer_dir),
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "160 descriptors are too few" in done.stderr
    assert "started child=" not in done.stderr


# --- while it runs ---


def test_cut_short_while_it_runs(asterisk, database, make_kaphila, sink):
    """Every look behind the file's new end is a SIGBUS, for each child that
    would be started: the master sees what it is, and ends with a line."""
    kaphila = make_kaphila(asterisk.media, database)
    kaphila.allow_errors()
    client = kaphila.client()
    call_id = client.make_call(number("08"), webhookUrl=sink.url)
    sink.wait(call_id, "recording.completed")
    file = kaphila.data_dir / "store" / "data.mdb"
    os.truncate(file, 4 * PAGE)
    # Whoever looks first dies of it; to be sure that somebody does:
    kaphila.signal("webhookd", signal.SIGKILL)
    code, log = wait_end(kaphila, 120)
    assert code == 1
    assert re.search(r" error .*call table can't be used any more", log)
    forget_bus_errors(kaphila)
    assert log.count("started child=") < 30
    start_refused(kaphila, "call table", LOST)


def forget_bus_errors(kaphila):
    """The children's SIGBUS, which AddressSanitizer reports, is expected."""
    for path in kaphila.sanitizer_dir.iterdir():
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text.strip() or "AddressSanitizer: BUS" in text:
            path.unlink()
