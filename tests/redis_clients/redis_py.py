"""What redis-py does with `edgeloop kv`: as it comes, which is RESP3, and asked for RESP2.

    python3 redis_py.py HOST:PORT
"""

import asyncio
import sys
import threading

import redis
import redis.asyncio

host, port = sys.argv[1].rsplit(":", 1)


def values(r):
    r.flushall()
    assert r.ping() is True
    assert r.set("a", "1") is True and r.get("a") == "1" and r.get("none") is None
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", ex=100, get=True) == "1"
    assert r.set("a", "3", keepttl=True) and 90 < r.ttl("a") <= 100
    assert r.persist("a") is True and r.ttl("a") == -1 and r.ttl("none") == -2
    assert r.incr("n") == 1 and r.incrby("n", 9) == 10 and r.decr("n") == 9
    assert r.append("a", "bc") == 3 and r.strlen("a") == 3
    assert r.mset({"x": "1", "y": "2"}) is True
    assert r.mget("x", "none", "y") == ["1", None, "2"]
    assert r.getdel("x") == "1" and r.exists("x", "y") == 1 and r.type("y") == "string"
    assert r.setnx("y", "0") is False and r.getset("y", "3") == "2"
    assert r.expire("y", 100, nx=True) is True and r.pttl("y") > 90_000
    assert r.delete("a", "n", "y", "none") == 3 and r.dbsize() == 0
    parts_of_values(r)
    for number in range(500):
        r.set(f"key:{number}", number)
    assert sorted(r.scan_iter("key:*", count=50)) == sorted(r.keys("key:*"))
    for command in ["GET", "GET a b", "NOPE"]:
        try:
            r.execute_command(*command.split())
        except redis.ResponseError:
            continue
        raise AssertionError(f"{command} was not refused")


def parts_of_values(r):
    assert r.incrbyfloat("f", 10.5) == 10.5 and r.incrbyfloat("f", 0.1) == 10.6
    assert r.setrange("t", 3, "text") == 7 and r.getrange("t", 3, -2) == "tex"
    assert r.setbit("b", 7, 1) == 0 and r.getbit("b", 7) == 1 and r.bitcount("b") == 1
    assert r.bitpos("b", 1) == 7 and r.bitop("NOT", "c", "b") == 1 and r.bitcount("c", 0, 6, "BIT") == 7
    assert r.mset({"x": "ohmytext", "y": "mynewtext"}) is True
    assert r.lcs("x", "y") == "mytext" and r.lcs("x", "y", len=True) == 6
    assert r.rename("x", "z") is True and r.renamenx("z", "y") is False
    assert r.copy("z", "z", destination_db=1) is True and r.copy("z", "y") is False
    assert r.getex("z", ex=100) == "ohmytext" and 90 < r.ttl("z") <= 100
    assert r.getex("z", persist=True) == "ohmytext" and r.ttl("z") == -1
    assert r.randomkey() in {"f", "t", "b", "c", "y", "z"}
    assert r.object("encoding", "t") == "embstr" and r.memory_usage("t") > 8
    r.flushall()


def pipelines(r):
    with r.pipeline(transaction=False) as pipe:
        for _ in range(1_000):
            pipe.incr("count")
        pipe.get("count")
        pipe.get("none")
        replies = pipe.execute()
    assert replies == [*range(1, 1_001), "1000", None]


def transactions(r, other):
    with r.pipeline() as pipe:
        assert pipe.set("t", 1).incr("t").get("t").execute() == [True, 2, "2"]
        for number in range(5_000):
            pipe.set(f"many:{number}", "x" * 100)
        assert all(pipe.execute())
        pipe.set("t", "text").incr("t").set("behind", 1)
        try:
            pipe.execute()
            raise AssertionError("a text was counted up")
        except redis.ResponseError as error:
            assert "not an integer" in str(error), error
        # One that fails does not undo the others; one that is unknown does.
        assert r.get("behind") == "1"
        pipe.execute_command("NOPE").set("never", 1)
        try:
            pipe.execute()
            raise AssertionError("NOPE is a command")
        except redis.ResponseError:
            assert r.get("never") is None
        pipe.watch("t")
        other.set("t", 5)
        pipe.multi()
        pipe.set("t", 6)
        try:
            pipe.execute()
            raise AssertionError("a watched key has changed")
        except redis.WatchError:
            assert r.get("t") == "5"
    add = lambda pipe: (pipe.get("sum"), pipe.multi(), pipe.incr("sum"))
    threads = [
        threading.Thread(target=lambda: [r.transaction(add, "sum") for _ in range(25)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("sum") == "100"


def databases(options):
    with redis.Redis(**options | {"db": 3}) as third, redis.Redis(**options) as first:
        third.flushdb()
        third.set("only", "here")
        assert (third.dbsize(), first.get("only")) == (1, None)
        assert third.info("keyspace")["db3"]["keys"] == 1


def server(r, version):
    (own,) = [line for line in r.client_list() if int(line["id"]) == r.client_id()]
    assert own["resp"] == str(version), own
    assert r.client_setname("me") is True and r.client_getname() == "me"
    assert r.config_get("maxmemory", "appendonly").keys() == {"maxmemory", "appendonly"}
    assert r.info("server")["redis_version"] == "7.0.15"
    assert r.info()["db0"]["keys"] == r.dbsize()
    assert r.command_count() == len(r.command())
    assert "get" in r.command_list()
    assert len(r.time()) == 2


def messages(r):
    with r.pubsub() as listener:
        listener.subscribe("news", "other")
        listener.psubscribe("n*")
        assert [told(listener)["data"] for _ in range(3)] == [1, 2, 3]
        assert r.pubsub_numsub("news", "nobody") == [("news", 1), ("nobody", 0)]
        assert sorted(r.pubsub_channels()) == ["news", "other"] and r.pubsub_numpat() == 1
        for number in range(100):
            assert r.publish("news", number) == 2
        direct, by_pattern = [], []
        while len(direct) + len(by_pattern) < 200:
            message = told(listener)
            assert message["channel"] == "news", message
            (direct if message["type"] == "message" else by_pattern).append(message["data"])
        assert direct == by_pattern == [str(number) for number in range(100)]
        listener.unsubscribe()
        listener.punsubscribe("n*")
        assert [told(listener)["data"] for _ in range(3)] == [2, 1, 0]
        assert r.publish("news", "x") == 0
    with r.pubsub() as listener:
        listener.ssubscribe("shard")
        assert told(listener)["type"] == "ssubscribe"
        assert r.pubsub_shardchannels() == ["shard"]
        assert r.pubsub_shardnumsub("shard") == [("shard", 1)]
        assert r.spublish("shard", "x") == 1
        assert told(listener)["data"] == "x"
        listener.sunsubscribe("shard")
        assert told(listener)["type"] == "sunsubscribe"


def told(listener):
    message = listener.get_message(timeout=5)
    assert message is not None, "nothing came"
    return message


async def from_coroutines(options):
    async with redis.asyncio.Redis(**options) as r:
        await asyncio.gather(*[r.incr("together") for _ in range(100)])
        assert await r.get("together") == "100"
        async with r.pubsub() as listener:
            await listener.subscribe("a")
            assert (await listener.get_message(timeout=5))["type"] == "subscribe"
            assert await r.publish("a", "x") == 1
            assert (await listener.get_message(timeout=5))["data"] == "x"


for version, options in [(3, {}), (2, {"protocol": 2})]:
    options |= {"host": host, "port": int(port), "decode_responses": True}
    with redis.Redis(**options) as client:
        values(client)
        pipelines(client)
        with redis.Redis(**options) as other:
            transactions(client, other)
        databases(options)
        server(client, version)
        messages(client)
    asyncio.run(from_coroutines(options))
    print(f"redis-py {redis.__version__} in RESP{version}: ok")
