"""Real Asterisk instances from the shared root, one class for both kinds.

They are started, stopped and removed by deploy/service, the way quickstart
does it; this only keeps their names and ports.
"""

import itertools
import os
import re
import shutil
import signal
from pathlib import Path

from . import paths
from .ari import Ari
from .ports import RTP_BLOCK

_numbers = itertools.count(1)


class Asterisk:
    """One instance; `kind` is "media" or "carrier".

    trunks  of a media instance: {"name": "host:port"}
    """

    def __init__(self, root, kind, ports, trunks=None):
        self.root = Path(root)
        self.kind = kind
        self.name = f"test-{os.getpid()}-{next(_numbers)}-{kind}"
        self.sip_port = ports.take()
        self.user, self.password = "kaphila", "test-password"
        self._ports = ports
        self._rtp = ports.take_rtp()
        self._frozen = False
        self._settings = [
            f"SIP_PORT={self.sip_port}",
            f"RTP_FIRST={self._rtp}",
            f"RTP_LAST={self._rtp + RTP_BLOCK - 1}",
        ]
        self.http_port = None
        if kind == "media":
            self.http_port = ports.take()
            self._settings += [
                f"HTTP_PORT={self.http_port}",
                f"ARI_USER={self.user}",
                f"ARI_PASSWORD={self.password}",
            ]
            for trunk, address in (trunks or {}).items():
                self._settings.append(f"TRUNK={trunk}={address}")
        self.dir = self.root / "srv" / self.name
        self.recording_dir = self.dir / "spool" / "recording"

    @property
    def sounds_dir(self):
        """Its English sounds, as this process sees them."""
        sounds = self.root / "usr" / "share" / "asterisk" / "sounds"
        return next(sounds.glob("en_US_*"))

    @property
    def speech_dir(self):
        """(folder, the same one as Asterisk sees it) for files of speech."""
        inside = f"/srv/{self.name}/spool/speech"
        return self.dir / "spool" / "speech", inside

    @property
    def url(self):
        """http://127.0.0.1:PORT, of a media instance."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def version(self):
        """The major version, such as 22."""
        return int(self.root.name.rpartition("-")[2])

    def replace(self, root):
        """Stop it, and start another Asterisk from `root` in its place, with
        its ports, user and trunks; no recordings, no calls."""
        self.thaw()
        paths.service("asterisk-remove", self.root, self.name)
        self.root = Path(root)
        self.dir = self.root / "srv" / self.name
        self.recording_dir = self.dir / "spool" / "recording"
        self.start()

    def widen_rtp(self, count):
        """So many RTP ports, in place of a test's; before start()."""
        self._ports.release(self._rtp)
        self._rtp = self._ports.take_rtp(count)
        kept = [s for s in self._settings if not s.startswith("RTP_")]
        self._settings = [
            *kept,
            f"RTP_FIRST={self._rtp}",
            f"RTP_LAST={self._rtp + count - 1}",
        ]

    def ari(self):
        """A new ARI client; the caller closes it."""
        return Ari(self.url, self.user, self.password)

    def start(self):
        """Write the configuration and start; ready when this returns."""
        paths.service(
            "asterisk-start", self.root, self.name, self.kind, *self._settings
        )

    def restart(self):
        """Start it again after stop() or kill(), with its files as they are."""
        paths.service("asterisk-restart", self.root, self.name)

    def stop(self):
        """End it in good order: calls are hung up, files stay."""
        self.thaw()
        paths.service("asterisk-stop", self.root, self.name)

    def remove(self):
        """Stop it for good and remove its files."""
        self.thaw()
        paths.service("asterisk-remove", self.root, self.name)
        self._ports.release(self.sip_port, self._rtp)
        if self.http_port is not None:
            self._ports.release(self.http_port)

    @property
    def pid(self):
        """Its pid, or None when it does not run."""
        try:
            text = (self.dir / "run" / "daemon.pid").read_text(encoding="utf-8")
        except OSError:
            return None
        pid = int(text.split()[0])
        return pid if paths.process_lives(pid) else None

    def kill(self):
        """SIGKILL, and wait for the end."""
        os.kill(self.pid, signal.SIGKILL)
        self._frozen = False
        paths.service("asterisk-stop", self.root, self.name)

    def freeze(self):
        """SIGSTOP: connections stay, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self):
        """Let a frozen one go on."""
        if self._frozen and self.pid is not None:
            os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def cli(self, command):
        """Run a CLI command; its output."""
        return paths.service("asterisk-cli", self.root, self.name, command)

    def log_files(self):
        """(name, path) of each log."""
        return [
            (f"asterisk {self.kind}", self.dir / "log" / "messages"),
            (f"asterisk {self.kind} console", self.dir / "log" / "console"),
        ]

    def clear(self):
        """What a test left: channels, bridges, recordings."""
        ari = self.ari()
        try:
            ari.hang_up_all()
        finally:
            ari.close()
        for file in self.recording_dir.iterdir():
            file.unlink(missing_ok=True)


class AsteriskPair:
    """A media instance and the carrier behind its trunks.

    Trunks: carrier and carrier2 (the same carrier), dead (nothing listens
    there, so an INVITE is never answered), sipp (for a SIPp of the test's own
    on sipp_port). A trunk with any other name is refused by Asterisk at once.
    """

    def __init__(self, root, ports):
        self.carrier = Asterisk(root, "carrier", ports)
        self.sipp_port = ports.take()
        self._dead_port = ports.take()
        self._ports = ports
        carrier = f"127.0.0.1:{self.carrier.sip_port}"
        self.media = Asterisk(
            root,
            "media",
            ports,
            trunks={
                "carrier": carrier,
                "carrier2": carrier,
                "dead": f"127.0.0.1:{self._dead_port}",
                "sipp": f"127.0.0.1:{self.sipp_port}",
            },
        )

    def start(self):
        """Start both."""
        self.carrier.start()
        self.media.start()

    def remove(self):
        """Stop both and remove their files."""
        self.media.remove()
        self.carrier.remove()
        self._ports.release(self.sipp_port, self._dead_port)

    def log_files(self):
        """(name, path) of each log of both."""
        return self.media.log_files() + self.carrier.log_files()


def remove_leftovers(root):
    """Instances of test runs that were killed before they could clean up."""
    with paths.alone("remove-asterisks"):
        for folder in (Path(root) / "srv").glob("test-*-*"):
            owner = re.match(r"test-(\d+)-", folder.name)
            if owner and not paths.process_lives(int(owner[1])):
                paths.service("asterisk-remove", root, folder.name)
                shutil.rmtree(folder, ignore_errors=True)
