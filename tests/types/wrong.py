# SPDX-License-Identifier: BSD-3-Clause
"""Lines that a type checker has to reject: those marked `# wrong`, and no others. Never run."""

from __future__ import annotations

import gearfast
from gearfast import (
    AdminClient,
    App,
    AsyncClient,
    AsyncJob,
    AsyncWorker,
    Backoff,
    Client,
    Job,
    Priority,
    Retry,
    Server,
    Timeout,
    Worker,
    as_completed,
)


def client(c: Client) -> None:
    Client(4730)  # wrong
    Client(timeout="5")  # wrong
    Client(retry=3)  # wrong
    c.run("f", "text")  # wrong
    c.run(b"f", b"x")  # wrong
    c.run("f", b"x", 3)  # wrong
    c.run("f", b"x", unique=5)  # wrong
    c.run("f", b"x", priority="high")  # wrong
    c.run("f", b"x", timeout="5")  # wrong
    c.run("f", b"x", timeout=Timeout(job=5))  # wrong
    c.run("f", b"x", delay=5)  # wrong
    text: str = c.run("f")  # wrong
    c.submit("f", {"a": 1})  # wrong
    c.submit("f", retry=Retry(on="JobFailed"))  # wrong
    c.submit("f").result("5")  # wrong
    c.submit_background("f", at="tomorrow")  # wrong
    c.submit_background("f").result()  # wrong
    c.map("f", b"one workload")  # wrong
    c.map("f", ["text"])  # wrong
    c.map("f", [b"x"], window="64")  # wrong
    numbers: list[int] = list(c.map("f", [b"x"]))  # wrong
    c.map_background("f", [b"x"], return_exceptions="yes")  # wrong
    c.status(5)  # wrong
    c.cancel(b"H:1")  # wrong
    c.nothing()  # wrong
    as_completed(c.submit("f"))  # wrong
    Backoff("1")  # wrong
    Timeout(connect="2")  # wrong
    Priority.URGENT  # wrong
    print(text, numbers)


async def async_client(c: AsyncClient) -> None:
    AsyncClient(ssl=True)  # wrong
    text: str = await c.run("f", b"x")  # wrong
    result: bytes = c.run("f", b"x")  # wrong
    await c.run("f", "text")  # wrong
    await c.run("f", timeout=Timeout(job=5))  # wrong
    await c.submit("f").wait("5")  # wrong
    c.map("f", b"one workload")  # wrong
    await c.submit_background("f", delay="5")  # wrong
    for _ in c.map("f", [b"x"]):  # wrong
        pass
    async with Client() as _:  # wrong
        pass
    print(text, result)


def worker(w: Worker) -> None:
    def returns_a_number(job: Job) -> int:
        return 5

    def takes_nothing() -> bytes:
        return b""

    async def is_a_coroutine(job: Job) -> bytes:
        return b""

    Worker(concurrency="8")  # wrong
    Worker(functions=[])  # wrong
    w.register("f", returns_a_number)  # wrong
    w.register("f", takes_nothing)  # wrong
    w.register("f", is_a_coroutine)  # wrong
    w.register(b"f", lambda job: job.workload)  # wrong
    w.register("f", lambda job: job.workload, process="yes")  # wrong
    w.function(5)  # wrong
    w.function("f")(returns_a_number)  # wrong
    w.stop("now")  # wrong


def job(one: Job, other: AsyncJob) -> None:
    one.send_status("1", 3)  # wrong
    one.send_data(5)  # wrong
    one.workload.encode()  # wrong
    one.unknown  # wrong
    number: int = one.handle  # wrong
    print(number, other, gearfast.Nothing)  # wrong


def async_worker(w: AsyncWorker) -> None:
    async def returns_a_number(job: AsyncJob) -> int:
        return 5

    def wants_another_job(job: Job) -> bytes:
        return b""

    w.register("f", returns_a_number)  # wrong
    w.register("f", wants_another_job)  # wrong
    w.function("f")(returns_a_number)  # wrong
    w.run().url  # wrong


app = App()


@app.task("resize")
def resize(path: str, width: int = 320) -> str:
    return path


@app.task
def count(job: Job, text: str) -> int:
    return len(text)


@app.task
async def fetch(url: str) -> bytes:
    return b""


@app.task
def nothing() -> None: ...


def tasks(c: Client, a: AsyncClient, job: Job) -> None:
    resize(3)  # wrong
    count("text")  # wrong
    resize.run(c)  # wrong
    resize.run("a.png")  # wrong
    resize.run(c, 3)  # wrong
    resize.run(c, "a.png", "64")  # wrong
    resize.run(c, "a.png", height=64)  # wrong
    resize.run(c, "a.png", unique="u")  # wrong
    count.run(c, job, "text")  # wrong
    count.run(c, text=3)  # wrong
    resize.submit(c, 3)  # wrong
    resize.submit(a, "a.png").result(timeout=3)  # wrong
    resize.submit_background(c, 3)  # wrong
    resize.map(c, [3])  # wrong
    resize.map(c, "a.png", width="64")  # wrong
    nothing.map(c, ["a"])  # wrong
    resize.options(uniqe="u")  # wrong
    resize.options(priority="high")  # wrong
    resize.options(delay="3")  # wrong
    resize.options(unique="u").run(c, 3)  # wrong
    resize.delay(c, "a.png")  # wrong
    number: int = resize.run(c, "a.png")  # wrong
    text: str = resize.run(a, "a.png")  # wrong
    data: bytes = fetch("url")  # wrong
    app.task("f", timeout="3")  # wrong
    app.task("f", retry=3)  # wrong
    app.task(5)  # wrong
    App("json")  # wrong
    App(serializer=5)  # wrong
    App(serializer=print)  # wrong
    print(number, text, data)


async def async_tasks(a: AsyncClient) -> None:
    await resize.run(a, 3)  # wrong
    await resize.submit(a, "a.png", width="64")  # wrong
    number: int = await resize.submit(a, "a.png")  # wrong
    for _ in resize.map(a, ["a.png"]):  # wrong
        pass
    print(number)


def others() -> None:
    Server(port="4730")  # wrong
    Server(4730)  # wrong
    AdminClient(["a", "b"], timeout="5")  # wrong
    AdminClient().status().total  # wrong
