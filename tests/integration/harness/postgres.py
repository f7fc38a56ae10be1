"""Real PostgreSQL clusters, private to the test process."""

import itertools
import os
import re
import secrets
import shutil
import signal

import psycopg2

from . import paths

# Tests need no durability, and two cores are few. Nor do they need vacuum: its
# worker belongs to no role, so that while one works in a database, none but a
# superuser can drop that WITH (FORCE).
SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
)
_numbers = itertools.count(1)


class Postgres:
    """One cluster. Its owner is the role "kaphila", who may make databases."""

    def __init__(self, ports):
        self._ports = ports
        self.port = ports.take()
        self.dir = paths.SCRATCH / str(os.getpid()) / f"pg-{next(_numbers)}"
        self._password = secrets.token_hex(8)
        self._frozen = []
        self._databases = itertools.count(1)

    def start(self):
        """Make the cluster if it is new, and start it."""
        self.dir.mkdir(parents=True, exist_ok=True)
        paths.service(
            "postgres-start", self.dir, self.port, self._password, *SETTINGS
        )

    def stop(self):
        """Stop it; clients are cut off. The data stay."""
        self.thaw()
        paths.service("postgres-stop", self.dir)

    def remove(self):
        """Stop it and remove its data."""
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        if not any(self.dir.parent.iterdir()):
            self.dir.parent.rmdir()
        self._ports.release(self.port)

    def freeze(self):
        """SIGSTOP the server and its backends: connections stay, no answer."""
        master = int(
            (self.dir / "data" / "postmaster.pid")
            .read_text(encoding="utf-8")
            .split()[0]
        )
        # The master first, so that no backend comes after the others.
        os.kill(master, signal.SIGSTOP)
        self._frozen = [master, *paths.child_pids(master)]
        for pid in self._frozen[1:]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        """Let a frozen one go on."""
        for pid in reversed(self._frozen):
            if paths.process_lives(pid):
                os.kill(pid, signal.SIGCONT)
        self._frozen = []

    def url(self, database="kaphila"):
        """A connection URI for libpq."""
        return f"postgresql://kaphila:{self._password}@127.0.0.1:{self.port}/{database}"

    def query(self, sql, args=(), database="kaphila"):
        """Run one statement by itself; its rows as a list of tuples."""
        connection = psycopg2.connect(self.url(database), connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create_database(self, template=None):
        """A new Database, empty or a copy of `template`'s name."""
        name = f"test_{next(self._databases)}"
        copy = f" TEMPLATE {template}" if template else ""
        self.query(f"CREATE DATABASE {name}{copy}")
        return Database(self, name)

    def log_files(self):
        """(name, path) of each log."""
        return [("postgresql", self.dir / "server.log")]


class Database:
    """One database of a cluster."""

    def __init__(self, postgres, name):
        self.postgres = postgres
        self.name = name
        self.url = postgres.url(name)

    def query(self, sql, args=()):
        """Run one statement; its rows as a list of tuples."""
        return self.postgres.query(sql, args, self.name)

    def drop(self):
        """Remove it, whoever is still connected."""
        self.postgres.query(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def remove_leftovers():
    """Clusters of test runs that were killed before they could clean up."""
    with paths.alone("remove-clusters"):
        for folder in paths.SCRATCH.iterdir():
            if not re.fullmatch(r"\d+", folder.name) or paths.process_lives(
                int(folder.name)
            ):
                continue
            for cluster in folder.glob("pg-*"):
                paths.service("postgres-stop", cluster)
            shutil.rmtree(folder, ignore_errors=True)
