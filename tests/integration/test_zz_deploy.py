import pytest, os
def test_own(make_kaphila, own_asterisk, own_postgres, own_database, sink):
    k = make_kaphila(own_asterisk.media, own_database)
    k.allow_errors(); key=k.create_key()
    own_postgres.stop(); own_asterisk.media.stop()
    assert k.api(key).post("/makecall", json={"number":"1555010008"}).status_code==503
    own_postgres.start(); own_asterisk.media.restart(); k.wait_ready()
    c=k.api(key).make_call("1555010008", webhookUrl=sink.url); sink.wait(c,"recording.completed")
    k.restart(); k.kill(); k.start()
@pytest.mark.parametrize("n", range(6))
def test_call(kaphila, sink, n):
    c = kaphila.client(trunks=("carrier","carrier2"))
    cid = c.make_call("1555010008", webhookUrl=sink.url)
    sink.wait(cid, "call.ended"); sink.wait(cid, "recording.completed"); print(kaphila.children(), kaphila.metrics())
    if n==2: old = kaphila.signal("worker.1"); kaphila.wait_new_pid("worker.1", old)
