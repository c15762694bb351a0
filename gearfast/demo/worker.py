# SPDX-License-Identifier: BSD-3-Clause
"""The worker process of the demo.

    python -m gearfast.demo.worker --name NAME --root FOLDER --smtp HOST:PORT SERVER [SERVER ...]

It does the functions `resize`, `thumbnail` and `mail` until it is told to stop (SIGTERM).
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gearfast import Client, Fail, Priority, Worker
from gearfast.demo import images, mail, plan
from gearfast.demo.leash import hold
from gearfast.demo.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gearfast.sync.worker import Job

__all__ = ["PhotoWork", "main"]

PATIENCE: Final = 30.0
"""Seconds that a job server may be away while a job is submitted to it."""


class PhotoWork:
    """The three functions, on the files below `root`."""

    def __init__(self, root: Path, smtp: tuple[str, int], ledger: Ledger) -> None:
        self._root = root.resolve()
        self._smtp = smtp
        self._ledger = ledger
        self._clients: dict[str, Client] = {}

    def _client(self, server: str) -> Client:
        if server not in self._clients:
            self._clients[server] = Client(server)
        return self._clients[server]

    def close(self) -> None:
        """Closes the clients."""
        for client in self._clients.values():
            client.close()

    def _path(self, name: str) -> Path:
        """A file of the demo. A job must not reach outside."""
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root):
            raise Fail(f"{name} is outside of the demo's folder")
        return path

    def resize(self, job: Job, source: str, target: str, width: int) -> tuple[int, int]:
        """Makes the photo `width` pixels wide."""
        return images.resize(self._path(source), self._path(target), width, job.send_status)

    def thumbnail(
        self, job: Job, source: str, target: str, side: int, mails: Sequence[dict[str, Any]] = ()
    ) -> tuple[int, int]:
        """Makes the thumbnail. `mails`: arguments of jobs that follow, in the background of the same server."""
        size = images.make_thumbnail(self._path(source), self._path(target), side)
        for arguments in mails:
            # The unique makes it safe to submit again what a server that was just killed may have taken.
            self._client(job.server).submit_background(
                plan.MAIL,
                json.dumps(arguments).encode(),
                unique=arguments["key"],
                priority=Priority.HIGH,
                timeout=PATIENCE,
            )
        return size

    def mail(self, _job: Job, thumbnail: str, **texts: str) -> str:
        """Mails the thumbnail to a follower."""
        message = mail.build(thumbnail=self._path(thumbnail).read_bytes(), **texts)
        mail.send(*self._smtp, message, texts["address"])
        return texts["message_id"]

    def noted(self, work: Callable[..., Any]) -> Callable[[Job], bytes]:
        """The callable that gearfast.Worker wants: JSON in, JSON out, each job in the ledger."""

        def call(job: Job) -> bytes:
            arguments = json.loads(job.workload)
            key = arguments.pop("key")
            with self._ledger.holding(key, job.handle, job.function):
                return json.dumps(work(job, **arguments)).encode()

        return call


def main() -> None:
    """Works until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--smtp", required=True)
    parser.add_argument("servers", nargs="+")
    options = parser.parse_args()
    hold()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    host, _, port = options.smtp.rpartition(":")
    worker = Worker(options.servers, id=options.name)
    with Ledger(options.root / "work", options.name) as ledger:
        work = PhotoWork(options.root, (host, int(port)), ledger)
        for name, function in ((plan.RESIZE, work.resize), (plan.THUMBNAIL, work.thumbnail), (plan.MAIL, work.mail)):
            worker.register(name, work.noted(function))
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()
        work.close()


if __name__ == "__main__":
    main()
