"""Bad input: each piece gets its 4xx in the envelope, and the same processes
serve the next request."""

import json
import select
import socket
import struct

import pytest
from harness.waiting import wait_until
from test_api import refused
from test_calls import number

LIMIT = 65536  # bytes of a body
CALL = {"number": number("03")}


def reset_when_closed(connection):
    """Its end will be a reset, which nobody takes for half of one."""
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )


class Wire:
    """Raw connections to one kaphila."""

    def __init__(self, kaphila, key):
        _, _, address = kaphila.base_url.rpartition("//")
        self.host, _, port = address.partition(":")
        self.address = (self.host, int(port))
        self.authorization = f"Authorization: Bearer {key}\r\n".encode()

    def connect(self):
        """A new connection."""
        return socket.create_connection(self.address, timeout=30)

    def head(self, start="POST /makecall HTTP/1.1", *lines):
        """A request's head without its empty line; lines as they are."""
        text = f"{start}\r\nHost: {self.host}\r\n".encode()
        text += self.authorization
        for line in lines:
            text += (
                line if isinstance(line, bytes) else line.encode()
            ) + b"\r\n"
        return text

    def request(self, path, body):
        """A whole POST with that body."""
        text = json.dumps(body).encode()
        head = self.head(
            f"POST {path} HTTP/1.1", f"Content-Length: {len(text)}"
        )
        return head + b"\r\n" + text

    def talk(self, sent):
        """Send these bytes and shut the sending side; all that comes back."""
        with self.connect() as connection:
            try:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before all was sent
            return receive(connection)

    def post(self, body, *lines):
        """POST /makecall with a body of that many bytes."""
        head = self.head(
            "POST /makecall HTTP/1.1",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *lines,
        )
        return self.talk(head + b"\r\n" + body)


def receive(connection):
    """What the other side sends until it closes."""
    got = b""
    try:
        while piece := connection.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def answers(got):
    """(status, headers in lower case, body) of each answer in the bytes."""
    found = []
    while got:
        head, empty, rest = got.partition(b"\r\n\r\n")
        assert empty, got
        lines = head.decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"twice: {line}"
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        found.append((int(lines[0].split()[1]), headers, rest[:length]))
        got = rest[length:]
    return found


def check_envelope(got, statuses, codes=None):
    """Assert that there is one answer, with that status, in the envelope."""
    found = answers(got)
    assert len(found) == 1, found
    status, headers, body = found[0]
    assert status in statuses, (status, body)
    assert headers["content-type"].startswith("application/json")
    assert headers["x-request-id"]
    answer = json.loads(body)
    assert answer["success"] is False
    assert isinstance(answer["error"], str) and answer["error"]
    assert isinstance(answer["code"], str) and answer["code"].isupper()
    if codes is not None:
        assert answer["code"] in codes, answer


@pytest.fixture
def strict(asterisk, database, make_kaphila):
    """A kaphila with the default rules for webhook targets; at the test's end
    the same processes must still serve."""
    kaphila = make_kaphila(
        asterisk.media,
        database,
        {
            "webhook.allow_http": "false",
            "webhook.allow_loopback": "false",
            "http.head_timeout_s": 5,
            "http.body_timeout_s": 5,
        },
    )
    before = {name: child["pid"] for name, child in kaphila.children().items()}
    yield kaphila
    after = {name: child["pid"] for name, child in kaphila.children().items()}
    assert after == before
    client = kaphila.client(name="after")
    for _ in range(6):
        answer = kaphila.api(client.key).post("/makecall", json=CALL)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def wire(strict):
    """Raw connections to the strict kaphila, with a key."""
    return Wire(strict, strict.create_key())


def try_all(table, check):
    """check(*row) for each named row; every failure is told, not the first."""
    faults = []
    for name, *row in table:
        try:
            check(*row)
        except (AssertionError, ValueError, OSError) as error:
            faults.append(f"{name}: {error}")
    assert not faults, "\n".join(faults)


def nested(depth, opening="[", closing="]"):
    """{"metadata": ...} so deep."""
    return (
        '{"number":"14155550003","metadata":'
        + opening * (depth - 1)
        + closing * (depth - 1)
        + "}"
    )


BODIES = [
    ("no body", b"", 400, "MISSING_PARAMETER"),
    ("white space", b"  ", 400, "INVALID_JSON"),
    ("not JSON", b"number=14155550003", 400, "INVALID_JSON"),
    ("half of it", b'{"number":"14155550003"', 400, "INVALID_JSON"),
    ("more behind it", b'{"number":"14155550003"}{}', 400, "INVALID_JSON"),
    ("an array", b'["14155550003"]', 400, "INVALID_JSON"),
    ("a string", b'"14155550003"', 400, "INVALID_JSON"),
    ("null", b"null", 400, "INVALID_JSON"),
    ("twice", b'{"number":"14155550003","number":1}', 400, "INVALID_JSON"),
    (
        "twice, escaped",
        b'{"number":"14155550003","n\\u0075mber":1}',
        400,
        "INVALID_JSON",
    ),
    ("NUL", b'{"number":"1415\x00550003"}', 400, "INVALID_JSON"),
    ("escaped NUL", b'{"number":"14155550003\\u0000"}', 400, "INVALID_JSON"),
    ("raw line feed", b'{"number":"14155\n550003"}', 400, "INVALID_JSON"),
    ("a number like 01", b'{"number":014155550003}', 400, "INVALID_JSON"),
    ("no number", b'{"number":NaN}', 400, "INVALID_JSON"),
    ("not UTF-8", b'{"number":"14155550003\xff"}', 400, "INVALID_JSON"),
    ("lone surrogate", b'{"number":"\\ud800"}', 400, "INVALID_JSON"),
    ("byte order mark", b'\xef\xbb\xbf{"number":"1"}', 400, "INVALID_JSON"),
    ("depth of 17", nested(17).encode(), 400, "INVALID_JSON"),
    (
        "deep objects",
        nested(200, '{"a":', "}").replace("}}", "1}}", 1).encode(),
        400,
        "INVALID_JSON",
    ),
    ("very deep", nested(30000).encode(), 400, "INVALID_JSON"),
    ("deep, unclosed", b"[" * 60000, 400, "INVALID_JSON"),
    ("all commas", b"[" + b"," * 60000 + b"]", 400, "INVALID_JSON"),
    (
        "over 64 KiB",
        json.dumps({**CALL, "x": "y" * LIMIT}).encode(),
        413,
        "BODY_TOO_LARGE",
    ),
    ("1 MB", b" " * 1_000_000, 413, "BODY_TOO_LARGE"),
    (
        "1 MB of JSON",
        json.dumps({**CALL, "x": "y" * 1_000_000}).encode(),
        413,
        "BODY_TOO_LARGE",
    ),
]


def test_bodies(wire):
    """No body, not JSON, deep nesting, 1 MB."""
    try_all(
        BODIES,
        lambda body, status, code: check_envelope(
            wire.post(body), {status}, {code}
        ),
    )

    def chunked(body):
        head = wire.head(
            "POST /makecall HTTP/1.1", "Transfer-Encoding: chunked"
        )
        return wire.talk(
            head + b"\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        )

    check_envelope(chunked(b" " * 1_000_000), {413}, {"BODY_TOO_LARGE"})
    check_envelope(chunked(b"{"), {400}, {"INVALID_JSON"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "json"):
        head = wire.head(
            "POST /makecall HTTP/1.1",
            f"Content-Type: {kind}",
            "Content-Length: 2",
        )
        check_envelope(
            wire.talk(head + b"\r\n{}"), {415}, {"UNSUPPORTED_MEDIA_TYPE"}
        )


DEEP = {"a": 1}
TYPES = ([], {}, ["1"], DEEP, True, 1.5, "x")

FIELDS = (
    # --- numbers ---
    [
        (f"number {value!r}", {"number": value}, {"INVALID_NUMBER"})
        for value in (
            "14155550003@evil",
            "14155550003@carrier/x",
            "1415555/0003",
            "/14155550003",
            "14155550003&PJSIP/100@carrier",
            "1415555000a",
            "call me",
            "1" * 40,
            "1" * 16,
            "123456",
            "++14155550003",
            "1415+5550003",
            "14155550003;ext=1",
            "14155550003,1",
            "14155550003\r\n",
            "14155550003\t",
            "14155550003${EXTEN}",
            "١٤١٥٥٥٥٠٠٠٣",
            "+",
            "-",
            -14155550003,
            14155550003.5,
            1e40,
            123456,
        )
    ]
    + [
        ("number missing", {"number": None}, {"MISSING_PARAMETER"}),
        ("number empty", {"number": ""}, {"MISSING_PARAMETER"}),
    ]
    # --- wrong types ---
    + [
        (f"{name} {value!r}", {name: value}, {"INVALID_PARAMETER"})
        for name, bad in {
            "number": ([], {}, ["14155550003"], True, False),
            "callerId": ([], {}, True),
            "webhookUrl": ([], {}, True, 7),
            "useAmd": ("true", 1, 0, [], {}),
            "asyncAmd": ("true", 1),
            "record": ("no", 0),
            "voiceName": (1, [], {}, True, "x", "en-US", "en-US-a b", "../x"),
            "ringTimeout": ("soon", "", "0x10", [], {}, True, "30s"),
            "maxDuration": ("long", [], {}, False),
            "metadata": ("x", 1, [], True, {"x": "y" * 2000}),
        }.items()
        for value in bad
    ]
    # --- caller ids ---
    + [
        (f"callerId {value!r}", {"callerId": value}, {"INVALID_NUMBER"})
        for value in (
            "19172452367\r\nX-Evil: 1",
            "19172452367\n",
            "\n19172452367",
            '"Evil" <19172452367>',
            "1917245236a",
            "1" * 40,
            "1",
        )
    ]
    # --- webhook targets ---
    + [
        (
            f"webhookUrl {value!r}",
            {"webhookUrl": value},
            {"INVALID_WEBHOOK_URL"},
        )
        for value in (
            "file:///etc/passwd",
            "file:/etc/passwd",
            "ftp://example.com/",
            "gopher://example.com/",
            "javascript:alert(1)",
            "http://example.com/",
            "//example.com/hook",
            "example.com/hook",
            "https://",
            "https:///hook",
            "https://user:secret@example.com/",
            "https://user@example.com/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://0.0.0.0/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[fe80::1]/",
            "https://[fd00::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://exa mple.com/",
            "https://example.com/\r\nX-Evil: 1",
            "https://example.com\\@127.0.0.1/",
            "https://example.com/" + "x" * 2048,
        )
    ]
)


def test_fields(wire, strict, sink):
    """Wrong types, numbers, caller ids and webhook targets; and none of them
    became a call."""

    def check(fields, codes):
        body = json.dumps({**CALL, **fields}).encode()
        got = wire.post(body)
        check_envelope(got, {400}, codes)
        if codes == {"INVALID_PARAMETER"}:  # it names the field
            name = next(iter(fields))
            assert name in json.loads(answers(got)[0][2])["error"]

    try_all(FIELDS, check)
    assert "call accepted" not in strict.log_text()
    # 127.0.0.1 is a target that this configuration does not allow.
    body = json.dumps({**CALL, "webhookUrl": sink.url}).encode()
    check_envelope(wire.post(body), {400}, {"INVALID_WEBHOOK_URL"})
    assert sink.deliveries == []


def test_call_ids(strict):
    """Another key's call is in test_api.py; here what was never an id."""
    client = strict.client()
    for value, status, code in (
        (None, 400, "MISSING_PARAMETER"),
        ("", 400, "MISSING_PARAMETER"),
        (7, 400, "INVALID_PARAMETER"),
        ([], 400, "INVALID_PARAMETER"),
        ({}, 400, "INVALID_PARAMETER"),
        (True, 400, "INVALID_PARAMETER"),
        ("x" * 10000, 404, "CALL_NOT_FOUND"),
        ("../channels", 404, "CALL_NOT_FOUND"),
        ("1.2\r\n", 404, "CALL_NOT_FOUND"),
        ("1720012345.88", 404, "CALL_NOT_FOUND"),
        ("99999999999999999999.99999999999999999999", 404, "CALL_NOT_FOUND"),
    ):
        refused(client.post("/hangup", json={"callId": value}), status, code)
    for path in ("x" * 5000, "%7f1", "1.2.3", "-1.1", "1720012345.88%20"):
        response = client.get(f"/calls/{path}")
        assert response.status_code in (404, 400), (path, response.text)
        assert response.json()["success"] is False


BODY = json.dumps(CALL).encode()
LENGTH = f"Content-Length: {len(BODY)}"


def test_heads(wire, strict):
    """A key of 10 KB, a header line without colon, two Content-Lengths, a HEAD
    with a body, and what else a proxy in front may read otherwise."""
    host = f"Host: {wire.host}\r\n".encode()
    post = "POST /makecall HTTP/1.1"

    def request(*lines, start=post, body=BODY):
        return wire.head(start, *lines) + b"\r\n" + body

    def bare(text):
        return text.replace(b"HOST", host).replace(b"KEY", wire.authorization)

    table = [
        (
            "a key of 10 KB",
            bare(
                b"GET /api/me HTTP/1.1\r\nHOSTAuthorization: Bearer ak_"
                + b"x" * 10240
                + b"\r\n\r\n"
            ),
            {401},
        ),
        (
            "a Basic key of 10 KB",
            bare(
                b"GET /api/me HTTP/1.1\r\nHOSTAuthorization: Basic "
                + b"QUFB" * 2560
                + b"\r\n\r\n"
            ),
            {401},
        ),
        (
            "a key of 100 KB",
            bare(
                b"GET /api/me HTTP/1.1\r\nHOSTAuthorization: Bearer ak_"
                + b"x" * 102400
                + b"\r\n\r\n"
            ),
            {431},
        ),
        ("no colon", request(LENGTH, "X-Broken line"), {400}),
        ("no name", request(LENGTH, ": value"), {400}),
        (
            "space before the colon",
            request(f"Content-Length : {len(BODY)}"),
            {400},
        ),
        ("a folded line", request(LENGTH, "X-A: 1", " more"), {400}),
        ("two lengths", request(LENGTH, "Content-Length: 0"), {400}),
        ("the same length twice", request(LENGTH, LENGTH), {400}),
        (
            "a list of lengths",
            request(f"Content-Length: {len(BODY)}, {len(BODY)}"),
            {400},
        ),
        ("negative length", request("Content-Length: -1"), {400}),
        ("signed length", request(f"Content-Length: +{len(BODY)}"), {400}),
        ("hexadecimal length", request("Content-Length: 0x19"), {400}),
        ("a huge length", request("Content-Length: " + "9" * 30), {400}),
        (
            "length and chunks",
            request(LENGTH, "Transfer-Encoding: chunked"),
            {400},
        ),
        ("unknown coding", request("Transfer-Encoding: xchunked"), {400}),
        ("two codings", request("Transfer-Encoding: gzip, chunked"), {400}),
        (
            "bad chunk size",
            request(
                "Transfer-Encoding: chunked", body=b"0x3\r\nabc\r\n0\r\n\r\n"
            ),
            {400},
        ),
        (
            "signed chunk size",
            request(
                "Transfer-Encoding: chunked", body=b"+3\r\nabc\r\n0\r\n\r\n"
            ),
            {400},
        ),
        (
            "GET with a body",
            request(LENGTH, start="GET /api/me HTTP/1.1"),
            {400},
        ),
        ("NUL in a header", request(LENGTH, b"X-A: 1\x002"), {400}),
        ("a control in a header", request(LENGTH, b"X-A: 1\x012"), {400}),
        ("bare LF", bare(b"GET /api/me HTTP/1.1\nHOSTKEY\r\n"), {400}),
        (
            "bare CR",
            bare(b"GET /api/me HTTP/1.1\r\nHOSTX-A: 1\r2\r\n\r\n"),
            {400},
        ),
        ("no Host", bare(b"GET /api/me HTTP/1.1\r\nKEY\r\n"), {400}),
        ("two Hosts", bare(b"GET /api/me HTTP/1.1\r\nHOSTHOSTKEY\r\n"), {400}),
        (
            "500 headers",
            request(LENGTH, *(f"X-{i}: 1" for i in range(500))),
            {431},
        ),
        (
            "1 MB of headers",
            request(LENGTH, *(f"X-{i}: {'y' * 1000}" for i in range(1000))),
            {431},
        ),
        (
            "a path of 100 KB",
            request(start="GET /" + "x" * 102400 + " HTTP/1.1"),
            {431},
        ),
        ("no version", bare(b"GET /api/me\r\nHOSTKEY\r\n"), {400}),
        ("HTTP/2.0", bare(b"GET /api/me HTTP/2.0\r\nHOSTKEY\r\n"), {505}),
        ("HTTP/9", bare(b"GET /api/me HTTP/9\r\nHOSTKEY\r\n"), {400}),
        ("two spaces", bare(b"GET  /api/me HTTP/1.1\r\nHOSTKEY\r\n"), {400}),
        ("no path", bare(b"GET HTTP/1.1\r\nHOSTKEY\r\n"), {400}),
        (
            "absolute form",
            bare(b"GET http://x/api/me HTTP/1.1\r\nHOSTKEY\r\n"),
            {400},
        ),
        (
            "dot segments",
            bare(b"GET /calls/../api/me HTTP/1.1\r\nHOSTKEY\r\n"),
            {400},
        ),
        (
            "escaped slash",
            bare(b"GET /calls%2f1 HTTP/1.1\r\nHOSTKEY\r\n"),
            {400},
        ),
        (
            "escaped NUL",
            bare(b"GET /calls/1%00 HTTP/1.1\r\nHOSTKEY\r\n"),
            {400},
        ),
        ("CONNECT", bare(b"CONNECT x:1 HTTP/1.1\r\nHOSTKEY\r\n"), {400, 405}),
        (
            "an unknown method",
            bare(b"BREW /calls HTTP/1.1\r\nHOSTKEY\r\n"),
            {405},
        ),
        (
            "a method of 10 KB",
            bare(b"X" * 10240 + b" /calls HTTP/1.1\r\nHOSTKEY\r\n"),
            {400, 405},
        ),
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
            {400},
        ),
        ("an odd expectation", request(LENGTH, "Expect: tea"), {417}),
    ]

    # One answer each: what follows a refused head is never a request.
    follower = wire.head("GET /api/me HTTP/1.1") + b"\r\n"

    def check(sent, statuses):
        check_envelope(wire.talk(sent), statuses)
        if statuses == {400}:
            check_envelope(wire.talk(sent + follower), statuses)

    try_all(table, check)
    assert "call accepted" not in strict.log_text()


def test_head_with_a_body(wire):
    """The body must not run as the next request, and HEAD's answer has none."""
    smuggled = wire.head("GET /api/me HTTP/1.1") + b"\r\n"
    got = wire.talk(
        wire.head("HEAD /health HTTP/1.1", f"Content-Length: {len(smuggled)}")
        + b"\r\n"
        + smuggled
    )
    head, _, rest = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and rest == b""
    assert b"application/json" in head


def trickle(wire, start, piece, status):
    """Send `start`, then `piece` every two seconds until the server ends it."""
    with wire.connect() as connection:
        connection.sendall(start)
        for _ in range(60):
            if select.select([connection], [], [], 2)[0]:
                break
            try:
                connection.sendall(piece)
            except OSError:
                break
        else:
            raise AssertionError("it would go on for ever")
        check_envelope(receive(connection), {status})


def test_slow_requests(wire, strict):
    """A head sent one byte every two seconds, and a body: each has a deadline
    for the whole of it. Meanwhile others are served."""
    client = strict.client()
    trickle(wire, b"P", b"O", 408)
    assert client.get("/api/me").status_code == 200
    head = wire.head("POST /makecall HTTP/1.1", LENGTH)
    trickle(wire, head + b"\r\n{", b" ", 408)


def test_many_that_say_nothing(wire, strict):
    """Connections without a request, and half ones, are no burden, and all of
    them are closed by the server in the end."""
    client = strict.client()
    silent = [wire.connect() for _ in range(100)]
    half = [wire.connect() for _ in range(100)]
    for connection in half:
        connection.sendall(b"POST /makecall HTTP/1.1\r\nHost: x\r\n")
    for _ in range(20):
        assert client.get("/api/me").status_code == 200

    def closed(connection):
        if not select.select([connection], [], [], 0)[0]:
            return False
        try:
            return connection.recv(65536) == b""
        except ConnectionResetError:
            return True

    left = silent + half
    while left:
        wait_until(
            lambda: select.select(left, [], [], 0)[0],
            lambda: f"{len(left)} connections to be closed",
            30,
        )
        left = [connection for connection in left if not closed(connection)]
    for connection in silent + half:
        connection.close()


def test_pipelined_garbage(wire):
    """A good request, then garbage on the same connection: both are answered,
    in order, and then it is closed."""
    good = wire.head("GET /api/me HTTP/1.1") + b"\r\n"
    found = answers(wire.talk(good + good + b"\x00garbage\r\n\r\n" + good))
    assert [status for status, _, _ in found] == [200, 200, 400]
    assert json.loads(found[2][2])["success"] is False
