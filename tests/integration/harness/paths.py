"""Where things are, and how the shell side (deploy/service) is called."""

import fcntl
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("KAPHILA_BUILD_DIR", TOP / "build-test"))
SCHEMA = TOP / "deploy" / "schema"

# For what PostgreSQL's user must reach: pytest's own folders are root's alone.
SCRATCH = Path("/tmp/kaphila-tests")

MASTER = BUILD / "master" / "kaphila-master"
CTL = BUILD / "master" / "kaphilactl"


def service(*args, timeout_s=300):
    """Run deploy/service; its standard output. Raises with all that it said."""
    done = subprocess.run(
        [TOP / "deploy" / "service", *map(str, args)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"deploy/service {' '.join(map(str, args))} failed:\n{done.stdout}{done.stderr}"
        )
    return done.stdout.strip()


@contextmanager
def alone(name):
    """While no other test process does what has this name."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with open(SCRATCH / f"{name}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def process_lives(pid):
    """True if there is such a process, and it is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def child_pids(pid):
    """The pids of a process's children."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found
