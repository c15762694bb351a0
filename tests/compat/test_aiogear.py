# SPDX-License-Identifier: BSD-3-Clause
"""aiogear's protocols on three job servers: what drop-in users rely on, and what is mended."""

from __future__ import annotations

import asyncio
import datetime
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gearfast.compat import aiogear
from gearfast.compat.aiogear import exception, response
from gearfast.compat.aiogear.mixin import GearmanProtocolMixin
from gearfast.demo.processes import free_port

from ..functional.servers import PATIENCE
from . import gear_servers
from .gear_servers import HOST, Peer, packet

nothing_left = gear_servers.nothing_left
port = gear_servers.port
real_port = gear_servers.real_port

PacketType = aiogear.PacketType


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a test's coroutine with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await main

    asyncio.run(limited())


@asynccontextmanager
async def opened(protocol: Any, port: int) -> AsyncIterator[Any]:
    """A protocol that is connected, the way aiogear's manual does it."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: protocol, HOST, port)
    try:
        yield protocol
    finally:
        if isinstance(protocol, aiogear.Worker):
            await protocol.shutdown()
        else:
            protocol.close()
        await closed(protocol)


async def closed(protocol: Any) -> None:
    """Waits until a protocol knows that its connection is gone."""
    while protocol.transport is not None:  # noqa: ASYNC110  (it has no event)
        await asyncio.sleep(0.001)


def reverse(job: Any) -> str:
    return str(job.workload[::-1])


async def upper(job: Any) -> str:
    await asyncio.sleep(0)
    return str(job.workload.upper())


async def result_of(client: Any, *args: Any, **options: Any) -> Any:
    created = await client.submit_job(*args, **options)
    assert isinstance(created, response.JobCreated)
    return await client.wait_job(created.handle)


def test_functions_of_both_kinds(port: int) -> None:
    async def main() -> None:
        worker = aiogear.Worker(reverse, (upper, "shout"), (lambda job: b"\xff", "bytes"), (lambda job: None, "none"))
        async with opened(worker, port), opened(aiogear.Client(), port) as client:
            for name, expected in (("reverse", "äba"), ("shout", "ABÄ"), ("bytes", "\udcff"), ("none", "")):
                result = await result_of(client, name, "abä")
                assert isinstance(result, response.WorkComplete)
                assert result.result == expected
            assert list(worker.functions) == ["reverse", "shout", "bytes", "none"]

    run(main())


@pytest.mark.parametrize("grab", ["GRAB_JOB", "GRAB_JOB_UNIQ", "GRAB_JOB_ALL"])
def test_what_a_function_gets(port: int, grab: str) -> None:
    """GRAB_JOB_ALL hung on jobs without a reducer; a unique that is no UTF-8 closed the connection."""
    seen: list[Any] = []

    async def main() -> None:
        worker = aiogear.Worker((seen.append, "f"), grab_type=PacketType[grab])
        async with opened(worker, port), opened(aiogear.Client(), port) as client:
            await result_of(client, "f", "a", "b", uuid="u")
            await result_of(client, "f", b"\xff\0")

    run(main())
    first, second = seen
    assert (first.function, first.workload, first.reducer) == ("f", "a\0b", None)
    assert first.uuid == (None if grab == "GRAB_JOB" else "u")
    assert second.workload == "\udcff\0"
    if grab != "GRAB_JOB":
        assert len(second.uuid.encode("utf-8", "surrogateescape")) == 16


def test_unknown_grab_type() -> None:
    with pytest.raises(RuntimeError):
        aiogear.Worker(grab_type=PacketType.NOOP)


def test_exceptions(real_port: int) -> None:
    def fail(job: Any) -> None:
        raise ValueError("größe")

    async def main() -> None:
        worker = aiogear.Worker(fail, (lambda job: 42, "number"))
        async with opened(worker, real_port), opened(aiogear.Client(), real_port) as client:
            assert type(await result_of(client, "fail", "")) is response.WorkFail  # the option is not on
            assert await client.option_req("exceptions") == b"exceptions"
            assert (await result_of(client, "fail", "")).exception == "größe"
            assert (await result_of(client, "number", "")).result == "42"
            worker.functions.clear()
            failed = await result_of(client, "number", "")
            assert failed == response.WorkFail(failed.handle)

    run(main())


def test_results_go_to_their_jobs(port: int) -> None:
    """They went to whoever had registered first."""

    async def main() -> None:
        async with opened(aiogear.Client(), port) as client:
            low = await client.submit_job_low("reverse", "12")
            high = await client.submit_job_high("reverse", "34")
            async with opened(aiogear.Worker(reverse), port):
                assert (await client.wait_job(high.handle)).result == "43"
                assert (await client.wait_job(low.handle)).result == "21"
            with pytest.raises(RuntimeError):
                client.wait_job(low.handle)
            with pytest.raises(RuntimeError):
                client.wait_job("H:none:1")

    run(main())


def test_many_jobs_at_once(port: int) -> None:
    async def main() -> None:
        async with opened(aiogear.Worker(reverse), port), opened(aiogear.Client(), port) as client:
            created = await asyncio.gather(*(client.submit_job("reverse", f"{n:03}") for n in range(100)))
            results = await asyncio.gather(*(client.wait_job(job.handle) for job in created))
            assert [result.result for result in results] == [f"{n:03}"[::-1] for n in range(100)]
            assert client.handles == {}

    run(main())


def test_two_jobs_with_one_unique(real_port: int) -> None:
    async def main() -> None:
        async with opened(aiogear.Client(), real_port) as client:
            one, other = (
                await client.submit_job("reverse", "ab", uuid="u"),
                await client.submit_job("reverse", "", uuid="u"),
            )
            assert one == other
            waiting = client.wait_job(one.handle)
            async with opened(aiogear.Worker(reverse), real_port):
                assert (await waiting).result == "ba"

    run(main())


@pytest.mark.parametrize("name", ["submit_job_bg", "submit_job_high_bg", "submit_job_low_bg"])
def test_background(real_port: int, name: str) -> None:
    async def main() -> None:
        async with opened(aiogear.Client(), real_port) as client:
            created = await getattr(client, name)("nobody", "x", uuid="u")
            known = response.StatusRes(created.handle, True, False, 0, 0)
            assert await client.get_status(created.handle) == known
            assert await client.get_status_unique("u") == response.StatusResUnique("u", True, False, 0, 0, 0)
            assert await client.get_status("H:none:1") == response.StatusRes("H:none:1", False, False, 0, 0)
            with pytest.raises(RuntimeError):  # there will be no result
                client.wait_job(created.handle)

    run(main())


def test_scheduled() -> None:
    import gearfast

    async def main(port: int) -> None:
        async with opened(aiogear.Client(), port) as client:
            moment = datetime.datetime(2028, 2, 29, 12, 30)
            created = await client.submit_job_sched("f", moment, "x", uuid="u")
            assert (await client.get_status(created.handle)).known

    with gearfast.Server() as server:
        assert server.port is not None
        run(main(server.port))


def test_scheduled_on_the_wire() -> None:
    """The weekday counts from Monday; aiogear counted from Sunday."""
    client = aiogear.Client()
    sent: list[bytes] = []
    client.transport = type("Transport", (), {"write": sent.append, "abort": lambda self: None})()

    async def main() -> None:
        client.connection_made(client.transport)
        task = asyncio.ensure_future(
            client.submit_job_sched("f", datetime.datetime(2026, 11, 29, 8, 5), "a", "b", uuid="u")
        )
        await asyncio.sleep(0)
        task.cancel()

    run(main())
    assert sent == [packet(35, b"f\0u\x005\x008\x0029\x0011\x006\0a\0b", b"\0REQ")]


def test_refusals(real_port: int) -> None:
    """An ERROR with a symbolic code closed the connection."""

    async def main() -> None:
        async with opened(aiogear.Client(), real_port) as client:
            code, text = await client.option_req("no such option")
            assert (code, text) == ("UNKNOWN_OPTION", "Server does not recognize given option")
            with pytest.raises(exception.WorkFailed) as caught:
                await client.submit_job("f", "", uuid="u" * 100)
            assert caught.value.args[0] == "ARGUMENT_TOO_LARGE"
            assert caught.value.handle is None
            assert (await client.submit_job_bg("f", "")).handle

    run(main())


def test_arguments_that_do_not_fit() -> None:
    async def main() -> None:
        with Peer() as peer:
            async with opened(aiogear.Client(), peer.port) as client:
                with pytest.raises(ValueError):
                    await client.submit_job("a\0b", "")
                with pytest.raises(TypeError):
                    await client.submit_job("a", unique="u")
                assert client._registers == []

    run(main())


def test_exceptions_carry_a_handle() -> None:
    error = exception.WorkException("why", handle="H:1")
    assert (error.args, error.handle) == (("why",), "H:1")


def test_a_client_is_a_context() -> None:
    async def main() -> None:
        with Peer() as peer:
            loop = asyncio.get_running_loop()
            client = aiogear.Client()
            await loop.create_connection(lambda: client, HOST, peer.port)
            async with client as same:
                assert same is client
            assert client.transport is None
            assert await client.close() is None

    run(main())


def test_a_forgotten_client_says_nothing() -> None:
    """Its __del__ complained once the loop was closed."""
    import gearfast

    async def main(port: int) -> None:
        client = aiogear.Client()
        await asyncio.get_running_loop().create_connection(lambda: client, HOST, port)
        client.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with gearfast.Server() as server:
        assert server.port is not None
        run(main(server.port))
    unconnected = aiogear.Client()
    assert unconnected.loop is None
    del unconnected
    gc.collect()


# Workers.


def test_functions_may_be_added_and_the_worker_named(port: int) -> None:
    async def main() -> None:
        worker = aiogear.Worker(reverse)
        with pytest.raises(RuntimeError):
            worker.register_function(upper)
        async with (
            opened(worker, port),
            opened(aiogear.Client(), port) as client,
            opened(aiogear.Admin(), port) as admin,
        ):
            await result_of(client, "reverse", "")
            waiting = await client.submit_job("late", "x")
            worker.set_client_id("me")
            worker.register_function(upper, "late")
            assert (await client.wait_job(waiting.handle)).result == "X"
            (found,) = [one for one in await admin.workers() if one["name"] == "me"]
            assert set(found["functions"]) == {"reverse", "late"}

    run(main())


def test_a_time_out(real_port: int) -> None:
    async def main() -> None:
        async with (
            opened(aiogear.Worker(reverse, timeout=60000), real_port),
            opened(aiogear.Client(), real_port) as client,
        ):
            assert (await result_of(client, "reverse", "ab")).result == "ba"

    run(main())


@pytest.mark.parametrize("graceful", [True, False])
def test_shutdown_with_a_running_job(real_port: int, graceful: bool) -> None:
    """It raised TypeError, whatever `graceful` was."""

    async def main() -> None:
        started, go = asyncio.Event(), asyncio.Event()

        async def slow(job: Any) -> str:
            started.set()
            await go.wait()
            return "done"

        worker = aiogear.Worker(slow)
        async with opened(aiogear.Client(), real_port) as client:
            async with opened(worker, real_port):
                created = await client.submit_job("slow", "")
                await started.wait()
                assert list(worker.running) == [created.handle]
                ending = asyncio.ensure_future(worker.shutdown(graceful=graceful))
                await asyncio.sleep(0)
                go.set()
                await ending
                assert worker.main_task.done()
            if graceful:
                assert (await client.wait_job(created.handle)).result == "done"
            else:  # another worker gets it
                async with opened(aiogear.Worker((reverse, "slow")), real_port):
                    assert (await client.wait_job(created.handle)).result == ""

    run(main())


def test_shutdown_of_an_idle_worker(port: int) -> None:
    async def main() -> None:
        for graceful in (True, False):
            worker = aiogear.Worker(reverse)
            async with opened(worker, port):
                await worker.shutdown(graceful=graceful)
                assert worker.main_task.done()
            await worker.shutdown()

    run(main())


# The text protocol.


def test_admin(real_port: int) -> None:
    async def main() -> None:
        async with (
            opened(aiogear.Admin(), real_port) as admin,
            opened(aiogear.Worker(reverse), real_port),
            opened(aiogear.Client(), real_port) as client,
        ):
            await client.submit_job_bg("other", "")
            await result_of(client, "reverse", "")
            status, workers, version = await asyncio.gather(admin.status(), admin.workers(), admin.version())
            assert {"function": "other", "total": 1, "running": 0, "available_workers": 0} in status
            assert {"function": "reverse", "total": 0, "running": 0, "available_workers": 1} in status
            assert [one["functions"] for one in workers if one["functions"]] == [["reverse"]]
            assert all(isinstance(one["fd"], int) and one["ip_address"] for one in workers)
            assert version.startswith("OK ")
            assert (await admin.verbose()).startswith("OK ")
            for size in (None, 5, "5", [1, 2, 3], (1, 2, 3)):
                assert await admin.maxqueue("other", size) == "OK"
            for size in ([1, 2], "many", object(), []):
                with pytest.raises(RuntimeError):
                    await admin.maxqueue("other", size)

    run(main())


def test_admin_of_an_empty_server(port: int) -> None:
    """A list of nothing was waited for for ever."""

    async def main() -> None:
        async with opened(aiogear.Admin(), port) as admin:
            assert await admin.status() == []
            assert [one["functions"] for one in await admin.workers()] == [[]]

    run(main())


def test_admin_reads_pieces_and_odd_lines() -> None:
    async def main() -> None:
        admin = aiogear.Admin()
        admin.connection_made(type("Transport", (), {"write": lambda self, data: None})())
        workers, refused = asyncio.ensure_future(admin.workers()), asyncio.ensure_future(admin.status())
        shutdown = asyncio.ensure_future(admin.shutdown(graceful=True))
        await asyncio.sleep(0)
        text = b"12 ::1 two words : f g:h\r\n13 127.0.0.1 - :\nnonsense\n.\nERR ACCESS_DENIED no\r\nOK\r\n"
        for index in range(len(text)):
            admin.data_received(text[index : index + 1])
        assert await workers == [
            {"fd": 12, "ip_address": "::1", "name": "two words", "functions": ["f", "g:h"]},
            {"fd": 13, "ip_address": "127.0.0.1", "name": "-", "functions": []},
        ]
        with pytest.raises(RuntimeError, match="ACCESS_DENIED"):
            await refused
        assert await shutdown == "OK"
        admin.data_received(b"nobody asked\n")
        waiting = admin.version()
        admin.connection_lost(None)
        with pytest.raises(ConnectionError):
            await waiting
        with pytest.raises(ConnectionError):
            await admin.version()

    run(main())


# CallbackClient.


def test_a_group_of_jobs(real_port: int) -> None:
    events: list[tuple[Any, ...]] = []

    async def note(*event: Any) -> None:
        events.append(event)

    class Talking(aiogear.Worker):
        def talk(self, job: Any) -> str:
            self.send(PacketType.WORK_DATA, job.handle, f"data of {job.workload}")
            self.send(PacketType.WORK_WARNING, job.handle, "careful")
            self.send(PacketType.WORK_STATUS, job.handle, 1, 2)
            if job.workload == "bad":
                raise ValueError
            return str(job.workload[::-1])

    async def main() -> None:
        worker = Talking()
        worker.functions["talk"] = worker.talk
        async with opened(worker, real_port), opened(aiogear.CallbackClient(), real_port) as client:
            client.set_update_callback(note)
            jobs = [("u1", "good"), ("u2", "bad", PacketType.SUBMIT_JOB_HIGH), ("u3", "low", PacketType.SUBMIT_JOB_LOW)]
            accepted, completed = await client.submit_jobs("talk", jobs)
            assert await accepted is True
            results = sorted((await completed), key=str)
            assert results == [
                {"state": "COMPLETE", "data": "doog"},
                {"state": "COMPLETE", "data": "wol"},
                {"state": "FAIL", "data": None},
            ]
            with pytest.raises(Exception, match="Unsupported priority"):
                await client.submit_jobs("talk", [("u", "", PacketType.SUBMIT_JOB_BG)])
            _, nothing = await client.submit_jobs("talk", [])
            assert list(await nothing) == []

    run(main())
    assert events[0] == ("progress", None, {"complete": 0, "total": 3})
    assert ("progress", None, {"complete": 3, "total": 3}) in events
    assert [event for event in events if event[1] == "u1"] == [
        ("data", "u1", "data of good"),
        ("warning", "u1", "careful"),
        ("status", "u1", {"complete": 1, "total": 2}),
        ("complete", "u1", "WORK_COMPLETE"),
    ]
    assert ("complete", "u2", "WORK_FAIL") in events


def test_a_group_without_callback_and_with_a_refused_job(real_port: int) -> None:
    async def main() -> None:
        async with opened(aiogear.Worker(reverse), real_port), opened(aiogear.CallbackClient(), real_port) as client:
            _, completed = await client.submit_jobs("reverse", [("u" * 100, "x"), ("v", "ab")])
            assert sorted(await completed, key=str) == [
                {"state": "COMPLETE", "data": "ba"},
                {"state": "FAIL", "data": None},
            ]

    run(main())


# Bad servers.


def lost(call: Callable[[Any], Any], data: bytes) -> None:
    """A call fails with ConnectionError when the server answers with this data and closes."""

    def answer(connection: Any, received: bytes) -> None:
        connection.sendall(data)
        connection.close()

    async def main() -> None:
        with Peer(answer) as peer:
            client = aiogear.Client()
            await asyncio.get_running_loop().create_connection(lambda: client, HOST, peer.port)
            with pytest.raises(ConnectionError):
                await call(client)
            with pytest.raises(ConnectionError):
                await call(client)
            await closed(client)

    run(main())


CREATED = packet(8, b"H:1")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        CREATED[:5],
        CREATED[:-1],
        b"\0XXX",
        b"\0RES\0\0\0\x63\0\0\0\0",
        b"\0RES\0\0\0\x08\xff\xff\xff\xff",
        b"text\n",
    ],
)
def test_a_lost_connection_fails_what_waits(data: bytes) -> None:
    lost(lambda client: client.submit_job("f", ""), data)


@pytest.mark.parametrize("name", ["get_status", "get_status_unique", "option_req"])
def test_a_lost_connection_fails_every_request(name: str) -> None:
    lost(lambda client: getattr(client, name)("x"), b"")


def test_a_lost_connection_fails_jobs_in_flight() -> None:
    lost(lambda client: result_of(client, "f", ""), CREATED)


def test_nonsense_closes_an_open_connection() -> None:
    async def main() -> None:
        with Peer(greeting=b"\0XXXXXXXXXXX") as peer:
            client = aiogear.Client()
            await asyncio.get_running_loop().create_connection(lambda: client, HOST, peer.port)
            await closed(client)
            with pytest.raises(ConnectionError):
                await client.submit_job("f", "")

    run(main())


def test_a_worker_ends_with_its_connection() -> None:
    def answer(connection: Any, received: bytes) -> None:
        connection.close()

    async def main() -> None:
        with Peer(answer) as peer:
            worker = aiogear.Worker(reverse)
            await asyncio.get_running_loop().create_connection(lambda: worker, HOST, peer.port)
            await worker.main_task
            assert worker.transport is None
            await worker.shutdown(graceful=True)

    run(main())


def test_a_group_ends_with_its_connection() -> None:
    def answer(connection: Any, received: bytes) -> None:
        connection.close()

    async def main() -> None:
        with Peer(answer) as peer:
            client = aiogear.CallbackClient()
            await asyncio.get_running_loop().create_connection(lambda: client, HOST, peer.port)
            for future in await client.submit_jobs("f", [("u", "x")]):
                with pytest.raises(ConnectionError):
                    await future
            assert await client.close() is None

    run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            await asyncio.get_running_loop().create_connection(aiogear.Client, HOST, free_port())

    run(main())


def test_the_mixin_alone() -> None:
    """As a base for protocols of one's own."""

    async def main() -> None:
        mixin = GearmanProtocolMixin()
        assert mixin.serialize_request(PacketType.CAN_DO_TIMEOUT, "f", 10) == packet(23, b"f\x0010", b"\0REQ")
        assert mixin.serialize_response(PacketType.WORK_COMPLETE, "h", b"\xff") == packet(13, b"h\0\xff")
        plain, pair = mixin.wait_for(PacketType.NOOP), mixin.wait_for(PacketType.NO_JOB, return_response=True)
        mixin.data_received(packet(10) + packet(6) + packet(17, b"a\0b"))
        assert await plain == response.Noop()
        assert await pair == (PacketType.NO_JOB, response.NoJob())
        mixin.send(PacketType.NOOP)  # nobody is connected

    run(main())
