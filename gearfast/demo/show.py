# SPDX-License-Identifier: BSD-3-Clause
"""The whole run: uploads, rounds with 1, 2 and N workers, the two rounds with losses, the proof, the pictures."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table

from gearfast import AdminClient, Client, GearfastError
from gearfast.demo import images, mail, page, plan, proof, sheet, uploads
from gearfast.demo.keeper import Keeper, hand_over, watch
from gearfast.demo.ledger import enders, starts
from gearfast.demo.losses import Losses
from gearfast.demo.plan import Photo, Round
from gearfast.demo.processes import Child, ChildError, Family, free_port, wait_until
from gearfast.demo.report import COLUMNS, Report, Row, counted
from gearfast.demo.uploader import Stalled, Uploader

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gearfast.demo.progress import Show

__all__ = ["FolderInUse", "Options", "run"]

_MARK: Final = ".gearfast-demo"
"""A file that says that a folder is the output of a demo, so that the next one may replace it."""


class FolderInUse(Exception):
    """The output folder holds something that no demo made."""


@dataclass(frozen=True)
class Options:
    """`photos`: folder, None for the shipped ones; `count`: how many uploads, None for the default;
    `server_command`: starts a job server on `{port}` of 127.0.0.1, None for gearfast's own."""

    output: Path
    photos: Path | None = None
    count: int | None = None
    workers: int = 4
    server_command: str | None = None


def _clean(folder: Path) -> None:
    """Makes the output folder, empty. Raises FolderInUse rather than remove what is not ours."""
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / _MARK).exists()):
            raise FolderInUse(f"{folder} holds something else than a demo; name another folder with --output")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).write_text("made by gearfast demo; the next one may replace this folder\n", encoding="utf-8")


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C does, so that the children are ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Demo:
    """One run. The methods are its steps, in order."""

    def __init__(self, options: Options, show: Show, family: Family) -> None:
        self._options = options
        self._root = options.output
        self._ledger = self._root / "work"
        self._mails = self._root / "mails"
        self._show = show
        self._family = family
        self._servers: list[Child] = []
        self._workers: list[Child] = []
        self._keeper: Keeper | None = None
        self._smtp: Child | None = None

    def upload(self) -> tuple[Photo, ...]:
        """The photos, in `uploads`."""
        own = self._options.photos is None
        sources = uploads.find(self._options.photos or uploads.shipped())
        count = self._options.count or (plan.COUNT if own else len(sources))
        width = uploads.CAMERA_WIDTH if own else None
        photos: list[Photo] = []
        with self._show.round(f"{count} photos are uploaded", {"upload": count}, steps=1):
            for photo in uploads.upload(sources, count, self._root, width=width):
                photos.append(photo)
                self._show.update({"upload": len(photos)})
        return tuple(photos)

    def start(self) -> None:
        """Two job servers, one with a store, and the SMTP server, listening."""
        for number in (1, 2):
            name = f"server {number}"
            if self._options.server_command is None:
                child = self._family.job_server(name)
            else:
                port = free_port()
                command = [word.replace("{port}", str(port)) for word in shlex.split(self._options.server_command)]
                child = self._family.start(name, command)
                child.address = f"127.0.0.1:{port}"
            self._servers.append(child)
        if self._options.server_command is None:
            self._keeper = Keeper(self._family, self._root / "jobs.db")
        self._smtp = self._family.python("smtp", "gearfast.demo.mail", str(self._mails))
        for child in self._family.children:
            if child.address:
                wait_until(partial(self._accepts, child.address), f"{child.name} does not accept connections")
            else:
                child.listening()
        addresses = ", ".join(child.address for child in self._servers)
        store = f", one with a store at {self._keeper.address}" if self._keeper is not None else ""
        self._show.say(f"job servers at {addresses}{store}, SMTP at {self._smtp.address}")

    def _accepts(self, address: str) -> bool:
        """Whether something listens there."""
        self._check()
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 1.0).close()
        except OSError:
            return False
        return True

    def grow(self, count: int) -> None:
        """Starts workers until there are `count`, and waits until each server knows them all."""
        assert self._smtp is not None
        addresses = [child.address for child in self._servers]
        addresses += [self._keeper.address] if self._keeper is not None else []
        for number in range(len(self._workers) + 1, count + 1):
            name = f"worker-{number}"
            arguments = ("--name", name, "--root", str(self._root), "--smtp", self._smtp.address, *addresses)
            self._workers.append(self._family.python(name, "gearfast.demo.worker", *arguments))
        for address in addresses:
            wait_until(partial(self._registered, address, count), f"the workers did not register at {address}")

    def _registered(self, address: str, count: int) -> bool:
        """Whether the server knows `count` workers that can do mails, the function that each registers last."""
        self._check()
        try:
            with AdminClient(address) as admin:
                return any(line.function == plan.MAIL and line.workers == count for line in admin.status())
        except (GearfastError, OSError):
            return False

    def work(self, title: str, label: str, work: Round, losses: Losses | None = None) -> tuple[Row, list[str]]:
        """Does one round; returns its row in the table and what went wrong."""
        problems: list[str] = []

        def turn(uploader: Uploader) -> None:
            self._show.update(uploader.done)
            if losses is not None:
                losses.step(uploader.part_done, uploader.places)
            self._check(*(losses.victims if losses is not None else ()))

        began = time.monotonic()
        with self._show.round(title, work.totals, keep=losses is not None):
            try:
                with Client([child.address for child in self._servers], resubmit="any") as client:
                    uploader = Uploader(client, work)
                    uploader.run(turn)
                problems += uploader.failures
            except (Stalled, ChildError, GearfastError) as exc:
                problems.append(str(exc))
        seconds = time.monotonic() - began
        return self._row(work, label, seconds), problems

    def _row(self, work: Round, label: str, seconds: float) -> Row:
        begun = starts(self._ledger, f"{work.name}/")
        return Row(label, len(begun), begun.total() - len(begun), seconds, len(work.photos))

    def _check(self, *victims: Child) -> None:
        """Raises ChildError if a process ended that was not killed."""
        self._family.check(*victims, *(self._keeper.dead if self._keeper is not None else ()))

    def measure(self, photos: tuple[Photo, ...], workers: int, report: Report) -> None:
        """A round without losses, checked like the last one; its results are not kept."""
        self.grow(workers)
        name = f"speed-{workers}"
        work = Round(name, photos, folder=f"{name}/")
        title = counted(workers, "worker")
        row, problems = self.work(title, title, work)
        self._look(work, row, problems, report)
        self._show.say(f"  {row.photos} photos in {row.seconds:.1f} s: {row.rate:.1f} photos/s")

    def _look(self, work: Round, row: Row, problems: list[str], report: Report) -> None:
        """Checks what a round has made, and removes it."""
        found = proof.look(self._root, work, self._mails)
        report.problems += [f"with {row.title}: {problem}" for problem in problems + found.problems]
        report.rows.append(row)
        shutil.rmtree(self._root / work.folder, ignore_errors=True)
        for path in self._mails.glob("*.eml"):
            path.unlink()

    def outlast(self, photos: tuple[Photo, ...], report: Report) -> None:
        """The round whose jobs wait in the store of a server that is killed; its client has gone by then."""
        keeper, workers = self._keeper, self._options.workers
        if keeper is None:
            return
        self.grow(workers)
        work = Round("durable", photos, folder="durable/")
        began = time.monotonic()

        def turn(done: Counter[str]) -> None:
            self._show.update(done)
            self._check()

        title = f"{counted(workers, 'worker')} once more, with jobs in a store; their job server will be killed halfway"
        with self._show.round(title, work.totals, keep=True):
            try:
                jobs = hand_over(keeper.address, work)
                self._tell(report, f"{counted(jobs, 'job')} were taken by {keeper.child.name}; its client has gone")
                problems = watch(keeper, work, self._ledger, turn, lambda text: self._tell(report, text))
            except (ChildError, GearfastError) as exc:
                problems = [str(exc)]
        row = self._row(work, f"{counted(workers, 'worker')}, jobs in a store", time.monotonic() - began)
        found = len(report.problems)
        self._look(work, row, problems, report)
        if len(report.problems) == found:
            self._tell(report, f"all {counted(row.jobs, 'job')} were done, {row.retries} of them begun twice")

    def lose(self, report: Report) -> None:
        """The round in which a worker and a job server are killed."""
        count = self._options.workers
        self.grow(count)
        losses = Losses(self._ledger, self._workers, self._servers, lambda text: self._tell(report, text))
        title = f"{count} workers again; one of them will be killed, and one of the two job servers"
        row, problems = self.work(title, f"{count} workers, with losses", report.work, losses)
        report.rows.append(row)
        report.problems += problems + losses.problems()
        if losses.job is not None:
            others = " and ".join(enders(self._ledger, losses.job.key)) or "nobody"
            self._tell(report, f"job {losses.job.key} was done to its end by {others}")
        if losses.server is not None:
            left = next(child for child in self._servers if child is not losses.server)
            self._tell(report, f"what {losses.server.name} had, the client sent again, to {left.name}")
        again = mail.accepted_again(self._mails)
        self._tell(
            report, f"begun twice: {counted(row.retries, 'job')}; sent twice and kept once: {counted(again, 'mail')}"
        )

    def _tell(self, report: Report, text: str) -> None:
        report.story.append(text)
        self._show.say(text, "yellow")


def _finish(options: Options, show: Show, report: Report) -> None:
    """Looks at what is there, and draws and writes the sheet, the page and the table."""
    images.remove_parts(options.output)
    report.proof = proof.look(options.output, report.work, options.output / "mails")
    report.problems += report.proof.problems
    for good, text in report.findings:
        show.say(f"{'✓' if good else '✗'} {text}", "green" if good else "red")
    if report.complete:
        images_made = f"{report.proof.resized} resized, {report.proof.mails} mails"
        title = f"{counted(len(report.photos), 'photo')}, {images_made}: nothing lost"
    else:
        title = f"Something is missing: {counted(len(report.problems), 'problem')}"
    row = report.rows[-1]
    lead = (
        f"{options.workers} workers and 2 job servers, of which one each was killed on the way: "
        f"{counted(row.jobs, 'job')} in {row.seconds:.1f} s"
    )
    if report.proof.thumbnails == len(report.photos):
        sheet.draw(options.output, report.work, options.output / "contact-sheet.jpg", title, lead)
    page.write(report, options.output / "index.html", title, lead)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number else "left")
    for row in report.rows:
        table.add_row(*row.cells)
    show.console.print(table)


def _rounds(workers: int) -> Sequence[int]:
    return sorted({1, 2, workers})


def run(options: Options, show: Show) -> list[str]:
    """Runs the demo; returns what is missing or went wrong, nothing if all is well.

    Raises uploads.PhotoError, FolderInUse or ChildError if it could not begin.
    """
    _clean(options.output)
    with _sigterm_as_exit(), Family(options.output / "logs") as family:
        demo = _Demo(options, show, family)
        photos = demo.upload()
        demo.start()
        report = Report(Round("album", photos))
        for workers in _rounds(options.workers):
            demo.measure(photos, workers, report)
        demo.outlast(photos, report)
        demo.lose(report)
    _finish(options, show, report)
    return report.problems
