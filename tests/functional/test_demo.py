# SPDX-License-Identifier: BSD-3-Clause
"""The demo as people run it, with few and small photos; what it made is looked at here without its own help."""

from __future__ import annotations

import email
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email import policy
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

Patience = Callable[[float], float]

WIDTHS = (1600, 800, 400)
SIZE = (1700, 1100)
COUNT = 5
LIMIT = 90.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, require: Any) -> Path:
    """A folder with two photos, one of them narrower than the largest width."""
    for module in ("PIL", "rich", "aiosmtpd", "psutil"):
        require.module(module, '"gearfast[demo]" psutil')
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for name, size in (("wide", SIZE), ("narrow", (900, 700))):
        Image.effect_noise((90, 60), 90).resize(size).convert("RGB").save(folder / f"{name}.jpg")
    return folder


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gearfast", "demo", *map(str, arguments)]


def run(patience: Patience, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=patience(LIMIT),
        env={**os.environ, **environment},
    )


def processes_of(folder: Path) -> list[Any]:
    """Living processes that have the folder in their command line."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or ()
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(process)
    return found


def check_images(output: Path) -> None:
    from PIL import Image

    for number in range(1, COUNT + 1):
        (upload,) = (output / "uploads").glob(f"photo-{number:02d}.*")
        with Image.open(upload) as image:
            original = image.width
        for width in WIDTHS:
            with Image.open(output / "resized" / f"photo-{number:02d}-{width}.jpg") as image:
                image.load()
                assert image.width == min(width, original)
        with Image.open(output / "thumbnails" / f"photo-{number:02d}.jpg") as image:
            image.load()
            assert image.size == (240, 240)
    with Image.open(output / "contact-sheet.jpg") as image:
        image.load()
    for kind in ("resized", "thumbnails"):
        assert not [path for path in (output / kind).iterdir() if path.suffix != ".jpg"]


def check_mails(output: Path) -> None:
    from PIL import Image

    delivered: Counter[str] = Counter()
    ids = set()
    for path in (output / "mails").glob("*.eml"):
        message = email.message_from_bytes(path.read_bytes(), policy=policy.default)
        (attachment,) = message.iter_attachments()
        with Image.open(BytesIO(attachment.get_content())) as image:
            image.load()
        delivered[message["Delivered-To"]] += 1
        ids.add(message["Message-ID"])
    assert len(delivered) == 3
    assert set(delivered.values()) == {COUNT}
    assert len(ids) == 3 * COUNT


def check_table(text: str) -> None:
    rows = re.findall(r"^ ?(\d workers?.*?) +(\d+) +(\d+) +(\d+\.\d) +(\d+\.\d) *$", text, re.MULTILINE)
    assert [row[0] for row in rows] == [
        "1 worker",
        "2 workers",
        "3 workers",
        "3 workers, jobs in a store",
        "3 workers, with losses",
    ]
    assert {int(row[1]) for row in rows} == {COUNT * (len(WIDTHS) + 1 + 3)}
    assert [int(row[2]) for row in rows[:3]] == [0, 0, 0]
    assert int(rows[4][2]) >= 1


def test_everything_is_there_after_a_worker_and_a_server_were_killed(
    photos: Path, tmp_path: Path, patience: Patience
) -> None:
    output = tmp_path / "out"
    result = run(patience, "--photos", photos, "--count", COUNT, "--workers", 3, "--output", output)
    assert result.returncode == 0, result.stdout + result.stderr
    check_images(output)
    check_mails(output)
    check_table(result.stdout)
    killed = re.search(r"SIGKILL for (worker-\d) \(pid \d+\) in the middle of job (\S+), (\S+)", result.stdout)
    assert killed
    worker, handle, key = killed.groups()
    lines = {path.stem: path.read_text().splitlines() for path in (output / "work").glob("*.jobs")}
    assert lines[worker][-1] == f"start {key} {handle}"
    assert any(line.startswith(f"end {key} ") for name, ends in lines.items() if name != worker for line in ends)
    assert re.search(r"SIGKILL for server \d \(pid \d+, 127\.0\.0\.1:\d+\) with [1-9]\d* jobs? on it", result.stdout)
    assert re.search(
        r"SIGKILL for server 3 \(pid (\d+), .*\) with [1-9]\d* jobs? in jobs\.db; started again \(pid (?!\1\b)\d+\)",
        result.stdout,
    )
    assert f"all {COUNT * (len(WIDTHS) + 1 + 3)} jobs were done" in result.stdout
    assert "nothing is missing" in result.stdout
    assert (output / "index.html").exists()
    assert processes_of(output) == []


def test_an_earlier_demo_is_replaced_and_nothing_else(photos: Path, tmp_path: Path, patience: Patience) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("keep me")
    result = run(patience, "--photos", photos, "--output", tmp_path)
    assert result.returncode == 2
    assert "another folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_debians_gearmand_does_the_job_too(photos: Path, tmp_path: Path, patience: Patience, require: Any) -> None:
    gearmand = require.program("gearmand", "gearman-job-server")
    output = tmp_path / "out"
    server = f"{gearmand} --listen 127.0.0.1 -p {{port}} -l stderr"
    arguments = ("--photos", photos, "--count", COUNT, "--workers", 3, "--output", output, "--server-command", server)
    result = run(patience, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    check_images(output)
    check_mails(output)
    assert processes_of(output) == []


def test_mails_that_were_never_sent_are_missed_although_every_job_went_well(
    photos: Path, tmp_path: Path, patience: Patience
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import smtplib\nsmtplib.SMTP.send_message = lambda *arguments, **options: {}\n"
    )
    output = tmp_path / "out"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = run(patience, "--photos", photos, "--workers", 2, "--output", output, PYTHONPATH=path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "photo-02.ada.album@demo.gearfast.example> to ada@gearfast.example was not delivered" in result.stderr
    assert "nothing is missing" not in result.stdout
    assert "What is missing" in (output / "index.html").read_text(encoding="utf-8")
    assert processes_of(output) == []


@pytest.mark.parametrize("server", ["false", "no-such-program-{port}"])
def test_a_server_that_does_not_start_is_said(photos: Path, tmp_path: Path, patience: Patience, server: str) -> None:
    result = run(patience, "--photos", photos, "--output", tmp_path / "out", "--server-command", server)
    assert result.returncode == 1
    assert "server 1" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_extra_is_named(tmp_path: Path, patience: Patience) -> None:
    code = "import sys; sys.modules['aiosmtpd'] = None; from gearfast.cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, "demo", "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=patience(LIMIT),
    )
    assert result.returncode == 2
    assert 'pip install "gearfast[demo]"' in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def under_way(photos: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[Any]]]:
    """A demo whose workers are at work, and its children."""
    import psutil

    output = tmp_path / "out"
    with subprocess.Popen(
        command("--photos", photos, "--count", 40, "--workers", 2, "--output", output),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "resize" in line:
                break
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 4
        yield demo, children
        demo.kill()
        for child in children:
            if child.is_running():
                child.kill()


def all_end(children: list[Any], limit: float) -> bool:
    import psutil

    deadline = time.monotonic() + limit
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_ctrl_c_leaves_no_process_behind(
    under_way: tuple[subprocess.Popen[str], list[Any]], number: signal.Signals, status: int, patience: Patience
) -> None:
    demo, children = under_way
    demo.send_signal(number)
    out, _ = demo.communicate(timeout=patience(20))
    assert demo.returncode == status
    assert "Traceback" not in out
    assert all_end(children, 0.5)


def test_a_killed_demo_leaves_no_process_behind(
    under_way: tuple[subprocess.Popen[str], list[Any]], patience: Patience
) -> None:
    demo, children = under_way
    demo.kill()
    assert all_end(children, patience(20))
