"""Google Cloud Text-to-Speech and the endpoint that gTTS uses, on loopback
inside the test process. They check nothing: they keep what was asked, and
speak real words or misbehave."""

import base64
import json
import subprocess
import threading
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .waiting import wait_until

GOOGLE_PATH = "/v1/text:synthesize"
GTTS_PATH = "/_/TranslateWebserverUi/data/batchexecute"
MODES = ("hang", "500", "garbage", "endless")


@dataclass
class Asked:
    """One POST as it came."""

    path: str
    headers: dict  # names in lower case
    body: bytes

    def google(self):
        """The body of text:synthesize, decoded."""
        return json.loads(self.body)

    def gtts(self):
        """The parameters of the RPC, by the form that gTTS 2.5.4 sends."""
        form = self.body.decode("ascii")
        assert form.startswith("f.req=") and form.endswith("&"), form
        calls = json.loads(urllib.parse.unquote(form[len("f.req=") : -1]))
        (((name, parameters, *rest),),) = calls
        assert (name, rest) == ("jQ1olc", [None, "generic"])
        return json.loads(parameters)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    def do_POST(self):
        """Record first, wait until it may go on, then answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        voices = self.server.voices
        headers = {k.lower(): v for k, v in self.headers.items()}
        voices.asked.append(Asked(self.path, headers, body))
        voices.may_answer.wait()
        if voices.mode == "hang":
            voices.closed.wait()
            self.close_connection = True
        elif voices.mode == "endless":
            self._endless()
        elif voices.mode == "500":
            self._reply(500, b'{"error":{"message":"no"}}')
        elif voices.mode == "garbage":
            self._reply(200, b"<html>\x01\xff no sound</html>")
        elif self.path == GOOGLE_PATH:
            self._reply(200, voices.google_answer())
        else:
            self._reply(200, voices.gtts_answer())

    def _reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _endless(self):
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        while not self.server.voices.closed.is_set():
            self.wfile.write(b"0" * 65536)

    def log_message(self, *_):
        """Failures are shown by the test."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is no error of the server's."""


def _filter(arguments, data):
    """What a program makes of its input."""
    return subprocess.run(
        arguments, input=data, capture_output=True, check=True
    ).stdout


def _ffmpeg(data, *options):
    command = ["ffmpeg", "-loglevel", "error", "-i", "pipe:0"]
    return _filter([*command, "-ac", "1", *options, "pipe:1"], data)


class Voices:
    """Both services.

    mode        one of MODES, or "good"
    asked       what was asked, in the order of arrival
    may_answer  an Event; cleared, every answer waits for it
    """

    WORDS = b"These are the words of the server, whatever it was asked."

    def __init__(self, ports):
        self._ports = ports
        self.port = ports.take()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mode = "good"
        self.asked = []
        self.may_answer, self.closed = threading.Event(), threading.Event()
        self.may_answer.set()
        self.speech = _filter(["espeak-ng", "--stdin", "--stdout"], self.WORDS)
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.voices = self
        threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        ).start()

    def close(self):
        """Stop for good; who still waits is let go."""
        self.closed.set()
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._ports.release(self.port)

    def wait_asked(self, count):
        """Until that many requests came."""
        wait_until(
            lambda: len(self.asked) >= count,
            lambda: f"{count} requests; so far {len(self.asked)}",
            60,
        )

    def wav(self):
        """The words as a WAV of 8 kHz."""
        wav = _ffmpeg(self.speech, "-ar", "8000", "-bitexact", "-f", "wav")
        # ffmpeg can't go back in a pipe to write the sizes
        size = len(wav) - 44
        head = wav[:4] + (size + 36).to_bytes(4, "little") + wav[8:40]
        return head + size.to_bytes(4, "little") + wav[44:]

    def google_answer(self):
        """LINEAR16: that WAV, in base64."""
        text = base64.b64encode(self.wav()).decode("ascii")
        return json.dumps({"audioContent": text}).encode()

    def gtts_answer(self):
        """An MP3 in the lines of an RPC's answer, as gTTS 2.5.4 takes it."""
        mp3 = _ffmpeg(self.speech, "-ar", "24000", "-f", "mp3")
        text = base64.b64encode(mp3).decode("ascii")
        inner = json.dumps([text], separators=(",", ":"))
        call = ["wrb.fr", "jQ1olc", inner, None, None, None, "generic"]
        line = json.dumps(call, separators=(",", ":"))
        return f')]}}\'\n\n[{line}\n,["di",79]\n]\n'.encode()
