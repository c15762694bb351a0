# SPDX-License-Identifier: BSD-3-Clause
"""Python callables as functions: arguments and results of any JSON, with types that a checker knows at both ends.

    python tasks.py

As programs of their own: `gearfast worker tasks:app` in one place, and `resize.run(client, …)` in others.
"""

from gearfast import App, Client, Job, Server
from gearfast.testing import WorkerThread

app = App(prefix="photos.")


@app.task(timeout=30)
def resize(path: str, width: int = 320) -> str:
    """Still a plain callable, too."""
    return f"{path} at {width} pixels"


@app.task
def describe(job: Job, path: str, *, tags: list[str]) -> dict[str, list[str]]:
    """The job is the worker's to fill; who calls the task gives the rest."""
    job.send_status(1, 1)
    return {path: sorted(tags)}


def main() -> None:
    with Server() as server, WorkerThread(app, server), Client(server.url) as client:
        print(resize.run(client, "a.png", width=64))
        print(describe.submit(client, "a.png", tags=["sea", "boat"]).result(timeout=10))
        for thumbnail in resize.map(client, ["b.png", "c.png"]):
            print(thumbnail)


if __name__ == "__main__":
    main()
