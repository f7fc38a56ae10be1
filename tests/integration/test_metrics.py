"""The statistics as Prometheus sees them: promtool takes both outputs, the
figures are those of what was done, they outlive any child, and no label tells
of a call, a number or a key."""

import re
import signal
import subprocess
import time
from collections import Counter

import pytest
from harness import paths
from harness.waiting import wait_until
from test_calls import number


def promtool(text):
    """What `promtool check metrics` says about a text: must be nothing."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr and not done.stdout, (
        done.stdout + done.stderr
    )


def parse(text):
    """{"name{labels}": value} of a text, as Kaphila.metrics() gives it."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in found, f"twice: {name}"
            found[name] = float(value)
    return found


def stats_prom(kaphila):
    """The text that the master writes, once it is there."""
    path = kaphila.run_dir / "stats.prom"
    wait_until(path.exists, "stats.prom", 30)
    return path.read_text(encoding="utf-8")


def types(text):
    """{metric: type} of a text."""
    return dict(
        line.split()[2:4]
        for line in text.splitlines()
        if line.startswith("# TYPE ")
    )


def series(metrics, name, **labels):
    """The values of a metric's series that have these labels, summed."""
    return sum(
        value
        for key, value in metrics.items()
        if key.partition("{")[0] == name
        and all(f'{label}="{word}"' in key for label, word in labels.items())
    )


def wait_series(kaphila, value, name, timeout_s=30.0, **labels):
    """Until a figure is what it must be, and not another for a while."""
    last = [None]

    def right():
        last[0] = series(kaphila.metrics(), name, **labels)
        return last[0] == value

    wait_until(
        right,
        lambda: f"{name}{labels} = {value}; last {last[0]}",
        timeout_s,
        0.2,
    )


def requests_counted(metrics):
    """{(route, method, code): count} without what the harness itself asks."""
    found = {}
    for key, value in metrics.items():
        match = re.fullmatch(
            r'kaphila_http_requests_total\{route="(.*)",method="(.*)",'
            r'code="(.*)"\}',
            key,
        )
        if match and match[1] not in ("/ready", "/metrics"):
            found[match.groups()] = value
    return found


def test_requests(kaphila):
    """Requests by route, method and code, those that go wrong too."""
    client = kaphila.client()
    stranger = kaphila.api("ak_" + "0" * 32)
    connections = series(kaphila.metrics(), "kaphila_http_connections_total")
    asked = [
        client.get("/api/me"),
        client.get("/api/me"),
        client.head("/api/me"),
        client.options("/api/me"),
        client.delete("/api/me"),
        client.get("/calls"),
        client.get("/calls/1800000000.4711"),
        client.post("/makecall", json={}),
        client.post("/makecall", json={"number": "14155550001", "record": 5}),
        client.post("/makecall", data="x", headers={"Content-Type": "a/b"}),
        client.get("/makecall"),
        client.request("BREW", "/makecall"),
        client.get("/nowhere/14155550001"),
        stranger.post("/makecall", json={"number": "14155550001"}),
        stranger.get("/calls"),
        kaphila.admin("/health"),
    ]
    wanted = Counter(
        {
            ("/api/me", "GET", "200"): 2,
            ("/api/me", "HEAD", "200"): 1,
            ("/api/me", "OPTIONS", "204"): 1,
            ("/api/me", "DELETE", "405"): 1,
            ("/calls", "GET", "200"): 1,
            ("/calls", "GET", "401"): 1,
            ("/calls/:callId", "GET", "404"): 1,
            ("/makecall", "POST", "400"): 2,
            ("/makecall", "POST", "401"): 1,
            ("/makecall", "POST", "415"): 1,
            ("/makecall", "GET", "405"): 1,
            ("other", "GET", "404"): 1,
            ("/health", "GET", "200"): 1,
        }
    )
    metrics = kaphila.metrics()
    assert requests_counted(metrics) == wanted
    # The method that nobody knows never came as far as a route.
    assert asked[11].status_code == 405
    assert series(metrics, "kaphila_http_refused_total") == 1
    assert sum(wanted.values()) == len(asked) - 1
    durations = "kaphila_http_request_duration_seconds"
    assert metrics[f'{durations}_count{{route="/makecall"}}'] == 5
    assert metrics[f'{durations}_bucket{{route="/api/me",le="+Inf"}}'] == 5
    assert 0 < metrics[f'{durations}_sum{{route="/api/me"}}'] < 60
    assert series(metrics, "kaphila_http_connections_total") > connections


def run_calls(kaphila, sink):
    """Calls that end in every way; {(status, reason): count}, key, ids."""
    key = kaphila.create_key(name="figures")
    client = kaphila.api(key)
    ids = [
        client.make_call(number(digits), webhookUrl=sink.url)
        for digits in ("03", "03", "05", "06", "08", "09")
    ]
    for digits, event in (("04", "call.ringing"), ("01", "recording.started")):
        call_id = client.make_call(number(digits), webhookUrl=sink.url)
        sink.wait(call_id, event)
        assert client.post("/hangup", json={"callId": call_id}).ok
        ids.append(call_id)
    refused = kaphila.client(name="refused", trunks=("nowhere",)).post(
        "/makecall", json={"number": number("01"), "webhookUrl": sink.url}
    )
    assert refused.status_code == 500
    for call_id in ids:
        sink.wait(call_id, "call.ended")
    sink.wait_count("recording.completed", 2)
    ended = Counter(
        (event["status"], event["endReason"])
        for event in sink.events(kind="call.ended")
    )
    ended["failed", "rejected"] += 0
    return key, ids, ended


def wait_settled(kaphila):
    """Until nothing is left of any call, by a look that began from now on."""
    began = time.monotonic()
    left = [None]

    def settled():
        metrics = kaphila.metrics()
        left[0] = {
            name: series(metrics, name)
            for name in ("kaphila_queue_depth", "kaphila_ended_call_records")
        }
        age_s = metrics.get("kaphila_store_look_age_seconds", 60) + 1
        return age_s < time.monotonic() - began and not any(left[0].values())

    wait_until(settled, lambda: f"nothing left; last: {left[0]}", 60)


def test_calls(kaphila, sink, database):
    """The figures of nine calls, and nothing in a label that is theirs."""
    key, ids, ended = run_calls(kaphila, sink)
    wait_settled(kaphila)
    metrics = kaphila.metrics()

    for (status, reason), count in ended.items():
        assert count == series(
            metrics,
            "kaphila_calls_ended_total",
            status=status,
            reason=reason,
        ), (status, reason)
    # The one that every trunk refused ends without an event.
    assert series(metrics, "kaphila_calls_ended_total") == len(ids) + 1
    assert metrics["kaphila_calls_accepted_total"] == len(ids) + 1
    assert metrics["kaphila_calls_answered_total"] == 2
    assert series(metrics, "kaphila_live_calls") == 0
    check_telephony(metrics, len(ids))
    check_deliveries(metrics, sink)
    assert metrics["kaphila_recordings_stored_total"] == 2
    posted = sum(
        database.query(f"SELECT count(*) FROM {table}")[0][0]
        for table in (
            "call_logs",
            "recordings",
            "credit_ledger WHERE kind = 'charge'",
        )
    )
    assert metrics["kaphila_ledger_posted_total"] == posted
    assert metrics["kaphila_ledger_set_aside_total"] == 0
    check_private(kaphila, [key, *ids, "1415555"])


def check_telephony(metrics, accepted):
    """Originates, commands and events."""
    originates = "kaphila_originates_total"
    assert (
        series(metrics, originates, trunk="carrier", result="accepted")
        == accepted
    )
    assert series(metrics, originates, trunk="nowhere", result="refused") == 1
    assert series(metrics, originates) == accepted + 1
    commands = "kaphila_ari_commands_total"
    said = {
        "originate": accepted,
        "bridge-create": 2,
        "bridge-add": 2,
        "record": 2,
    }
    for command, count in said.items():
        assert (
            series(metrics, commands, command=command, result="ok") == count
        ), command
    assert series(metrics, commands, command="originate", result="refused") == 1
    assert series(metrics, commands, command="hangup") >= 2
    assert series(metrics, commands, result="timeout") == 0
    events = "kaphila_ari_events_total"
    assert series(metrics, events, type="destroyed") == accepted
    assert series(metrics, events, type="stasis-start") == 2
    assert (
        0
        < metrics["kaphila_ari_event_lag_seconds_count"]
        <= series(metrics, events)
    )
    assert metrics["kaphila_ari_event_lag_seconds_sum"] < 60


def check_deliveries(metrics, sink):
    """Every POST that the sink has taken, and how long answers took."""
    deliveries = "kaphila_webhook_deliveries_total"
    assert series(metrics, deliveries, result="2xx") == len(sink.deliveries)
    assert series(metrics, deliveries) == len(sink.deliveries)
    lag = "kaphila_answer_to_webhook_seconds"
    assert metrics[f"{lag}_count"] == 2
    assert 0 < metrics[f"{lag}_sum"] < 60
    assert metrics["kaphila_store_commits_total"] > 0
    assert (
        metrics["kaphila_store_commit_seconds_count"]
        == metrics["kaphila_store_commits_total"]
    )
    assert (
        metrics["kaphila_store_lock_wait_seconds_count"]
        >= metrics["kaphila_store_commits_total"]
    )


def check_private(kaphila, secrets):
    """Nothing of a call, number or key stands in either text."""
    for text in (kaphila.admin("/metrics").text, stats_prom(kaphila)):
        for secret in secrets:
            assert secret not in text


def test_text(kaphila, sink):
    """Both texts are what Prometheus wants, and of the same metrics."""
    client = kaphila.client()
    call_id = client.make_call(number("08"), webhookUrl=sink.url)
    sink.wait(call_id, "recording.completed")
    answer = kaphila.admin("/metrics")
    assert answer.status_code == 200
    assert (
        answer.headers["Content-Type"]
        == "text/plain; version=0.0.4; charset=utf-8"
    )
    assert kaphila.api().get("/metrics").status_code == 404
    written = stats_prom(kaphila)
    for text in (answer.text, written):
        promtool(text)
        parse(text)
    assert types(answer.text) == types(written)
    processes = {"master", "webhookd", "recorder", "worker-0", "worker-1"}
    metrics = parse(answer.text)
    for process in processes:
        assert series(metrics, "kaphila_process_up", process=process) == 1
        assert (
            series(
                metrics,
                "kaphila_process_resident_memory_bytes",
                process=process,
            )
            > 1e6
        )
    assert series(metrics, "kaphila_process_up") == len(processes)
    for name in ("kaphila_ari_link_up", "kaphila_postgres_link_up"):
        assert series(metrics, name) == 2
    assert metrics["kaphila_workers"] == 2
    assert metrics['kaphila_store_durability_info{durability="normal"}'] == 1
    # The file is written anew by itself.
    wait_until(lambda: stats_prom(kaphila) != written, "a newer stats.prom", 30)
    assert not (kaphila.run_dir / "stats.prom.tmp").exists()


def test_readme(kaphila):
    """README's table of the metrics is the list of what there is."""
    readme = (paths.TOP / "README.md").read_text(encoding="utf-8")
    listed = dict(
        re.findall(r"^\| `(kaphila_\w+)` \| (\w+) \|", readme, re.MULTILINE)
    )
    assert listed == types(kaphila.admin("/metrics").text)


def test_survive_kills(kaphila, sink):
    """SIGKILL of each child: no counter falls, the end is counted, and its
    gauges are there again."""
    client = kaphila.client()
    call_id = client.make_call(number("08"), webhookUrl=sink.url)
    sink.wait(call_id, "recording.completed")
    wait_settled(kaphila)
    kinds = types(kaphila.admin("/metrics").text)
    before = kaphila.metrics()

    for name in ("worker.0", "worker.1", "webhookd", "recorder"):
        old = kaphila.signal(name)
        kaphila.wait_new_pid(name, old)
        kaphila.wait_ready()
        after = kaphila.metrics()
        for key, value in before.items():
            metric = key.partition("{")[0]
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            if kinds.get(metric, kinds.get(base)) in ("counter", "histogram"):
                assert after[key] >= value, (name, key)
        before = after
    restarts = "kaphila_process_restarts_total"
    assert series(before, restarts, role="worker", reason="killed") == 2
    assert series(before, restarts, role="webhookd", reason="killed") == 1
    assert series(before, restarts, role="recorder", reason="killed") == 1
    assert series(before, restarts) == 4
    assert series(before, "kaphila_process_up") == 5
    assert before["kaphila_store_stale_readers_cleared_total"] > 0
    assert before["kaphila_calls_accepted_total"] == 1

    old = kaphila.signal("worker.1", signal.SIGSTOP)
    kaphila.wait_new_pid("worker.1", old)
    wait_series(kaphila, 3, restarts, role="worker", reason="killed")
    kaphila.ctl("restart", "recorder")
    wait_series(kaphila, 1, restarts, role="recorder", reason="planned")
    assert series(kaphila.metrics(), restarts) == 6


def test_master_ends(kaphila):
    """stats.prom is gone at the end; the counters are not; and what a killed
    master leaves is written anew by the next."""
    client = kaphila.client()
    client.get("/api/me")
    asked = series(
        kaphila.metrics(), "kaphila_http_requests_total", route="/api/me"
    )
    assert asked == 1
    stats_prom(kaphila)
    kaphila.restart()
    assert asked == series(
        kaphila.metrics(), "kaphila_http_requests_total", route="/api/me"
    )
    stats_prom(kaphila)
    assert kaphila.stop() == 0
    assert not (kaphila.run_dir / "stats.prom").exists()

    kaphila.start()
    old = stats_prom(kaphila)
    kaphila.kill()
    assert stats_prom(kaphila) == old
    kaphila.start()
    assert stats_prom(kaphila) != old


@pytest.mark.parametrize("fault", ["status", "connect"])
def test_retries(kaphila, sink, fault):
    """A target that fails: the tries by result, the retries that wait and
    their age; and all of it gone when it takes them."""
    if fault == "status":
        sink.behaviour = lambda _: 503
    else:
        sink.down()
    call_id = kaphila.client().make_call(number("03"), webhookUrl=sink.url)
    result = "5xx" if fault == "status" else "connect"
    wait_series(kaphila, 2, "kaphila_queue_depth", queue="webhook_retries")
    metrics = kaphila.metrics()
    assert (
        series(metrics, "kaphila_webhook_deliveries_total", result=result) >= 2
    )
    wait_until(
        lambda: series(
            kaphila.metrics(),
            "kaphila_queue_oldest_age_seconds",
            queue="webhook_retries",
        )
        > 3,
        "an age of 3 s",
        30,
    )
    if fault == "status":
        sink.behaviour = None
    else:
        sink.up()
    sink.wait(call_id, "call.ended")
    wait_settled(kaphila)
    metrics = kaphila.metrics()
    assert (
        series(metrics, "kaphila_webhook_deliveries_total", result="2xx") == 2
    )
    assert series(metrics, "kaphila_queue_oldest_age_seconds") == 0


def test_without_postgres(
    asterisk, own_postgres, own_database, make_kaphila, sink
):
    """PostgreSQL away: /metrics answers, the link is down, the ledger lags."""
    kaphila = make_kaphila(asterisk.media, own_database)
    client = kaphila.client()
    client.get("/api/me")
    own_postgres.stop()
    call_id = client.make_call(number("08"), webhookUrl=sink.url)
    sink.wait(call_id, "call.ended")
    sink.wait(call_id, "recording.completed")
    wait_series(kaphila, 0, "kaphila_postgres_link_up")
    wait_series(kaphila, 3, "kaphila_queue_depth", queue="ledger")
    wait_until(
        lambda: kaphila.metrics()["kaphila_ledger_lag_seconds"] > 3,
        "a lag of 3 s",
        30,
    )
    promtool(kaphila.admin("/metrics").text)

    own_postgres.start()
    wait_series(kaphila, 2, "kaphila_postgres_link_up")
    wait_settled(kaphila)
    metrics = kaphila.metrics()
    assert metrics["kaphila_ledger_lag_seconds"] == 0
    assert metrics["kaphila_ledger_posted_total"] == 3


def test_live_calls_and_drain(kaphila, sink):
    """Live calls by state, and a node that takes no new ones."""
    client = kaphila.client()
    ringing = client.make_call(number("04"), webhookUrl=sink.url)
    talking = [
        client.make_call(number("01"), webhookUrl=sink.url) for _ in range(3)
    ]
    for call_id in talking:
        sink.wait(call_id, "recording.started")
    wait_series(kaphila, 3, "kaphila_live_calls", state="answered")
    wait_series(kaphila, 1, "kaphila_live_calls", state="ringing")
    assert kaphila.metrics()["kaphila_paused"] == 0

    kaphila.ctl("drain")
    assert kaphila.metrics()["kaphila_paused"] == 1
    promtool(kaphila.admin("/metrics").text)
    response = client.post("/makecall", json={"number": number("03")})
    assert response.status_code == 503
    for call_id in [ringing, *talking]:
        assert client.post("/hangup", json={"callId": call_id}).ok
    wait_settled(kaphila)
    metrics = kaphila.metrics()
    assert series(metrics, "kaphila_live_calls") == 0
    assert series(metrics, "kaphila_calls_ended_total") == 4
    assert (
        series(
            metrics,
            "kaphila_http_requests_total",
            route="/makecall",
            code="503",
        )
        == 1
    )
    kaphila.ctl("resume")
    assert kaphila.metrics()["kaphila_paused"] == 0
