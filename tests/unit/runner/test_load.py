# SPDX-License-Identifier: BSD-3-Clause
"""Which worker `module:attribute` is, and what is said if it is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import AsyncWorker, UsageError, Worker
from gearfast.runner.load import load

PROGRAM = """
import gearfast

worker = gearfast.Worker()
other = gearfast.AsyncWorker()


class Site:
    jobs = worker


def make_worker():
    return gearfast.Worker()


def make_nothing():
    return None


def needs(config):
    return worker


async def coroutine():
    return worker


number = 7
"""

APPS = """
import gearfast

app = gearfast.App()
async_app = gearfast.App()
bare_app = gearfast.App()


@app.task
def double(number):
    return 2 * number


@async_app.task
async def nap():
    pass


def make_app():
    return app
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "shop_jobs.py").write_text(PROGRAM)
    (tmp_path / "shop_declared_tasks.py").write_text(APPS)
    package = tmp_path / "shop_site"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text(PROGRAM)
    (package / "stale.py").write_text("import no_such_library_anywhere")
    (package / "empty.py").touch()
    before = set(sys.modules)
    path = sys.path[:]
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("shop_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("shop_jobs:worker", Worker),
        ("shop_jobs", Worker),
        ("shop_jobs:other", AsyncWorker),
        ("shop_jobs:Site.jobs", Worker),
        ("shop_jobs:make_worker", Worker),
        ("shop_site.tasks:worker", Worker),
        ("shop_declared_tasks:app", Worker),
        ("shop_declared_tasks:make_app", Worker),
        ("shop_declared_tasks:async_app", AsyncWorker),
    ],
)
def test_what_can_be_named(folder: Path, target: str, kind: type) -> None:
    assert isinstance(load(target, str(folder)), kind)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop_job:worker", "there is no module shop_job; did you mean shop_jobs:worker or shop_site:worker?"),
        ("shop_site.task", "there is no module shop_site.task; did you mean shop_site.tasks?"),
        ("shop_jobs.py", "a worker is named module:attribute, not by a file, as in shop_jobs:worker"),
        ("./shop_jobs.py:other", "not by a file, as in shop_jobs:other"),
        ("shop_site/tasks.py", "not by a file, as in shop_site.tasks:worker"),
        ("shop_jobs.worker", "there is no module shop_jobs.worker; modules are looked for in {folder} first"),
        ("zzz", "there is no module zzz; modules are looked for in {folder} first"),
        ("shop_jobs:wroker", "module shop_jobs has no 'wroker'; did you mean shop_jobs:worker"),
        ("shop_jobs:zzz", "did you mean shop_jobs:worker or shop_jobs:other?"),
        ("shop_site.empty", "it has no Worker and no AsyncWorker of any name"),
        ("shop_jobs:number", "shop_jobs:number is an int, not a Worker, an AsyncWorker or a function"),
        ("shop_jobs:make_nothing", "shop_jobs:make_nothing returned a NoneType, not a Worker"),
        ("shop_declared_tasks:bare_app", "the app has no task"),
        ("shop_declared_tasks:nap", "shop_declared_tasks:nap is a task; its app is what a worker is made of"),
        ("shop_declared_tasks:ap", "did you mean shop_declared_tasks:app"),
        (
            "shop_declared_tasks",
            "module shop_declared_tasks has no 'worker'; did you mean shop_declared_tasks:app or ",
        ),
        ("shop_jobs:needs", "is called without arguments, but: missing a required argument: 'config'"),
        ("shop_jobs:coroutine", "is a coroutine function"),
        ("shop_jobs:", "module:attribute"),
        (":worker", "module:attribute"),
    ],
)
def test_what_cannot(folder: Path, target: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(target, str(folder))
    assert said.format(folder=folder) in str(caught.value)


def test_what_a_module_misses_is_not_the_module(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_library_anywhere"):
        load("shop_site.stale", str(folder))
