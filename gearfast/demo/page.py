# SPDX-License-Identifier: BSD-3-Clause
"""The HTML page of a run. It refers only to files beside it, so the folder can be copied anywhere."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from gearfast.demo.mail import Mailbox
from gearfast.demo.report import COLUMNS, Report

if TYPE_CHECKING:
    from gearfast.demo.plan import Photo

__all__ = ["write"]

_STYLE: Final = """
:root { --paper: #14161a; --card: #1d2026; --line: #2c3038; --ink: #f3f1ec; --faint: #9aa0ab;
  --accent: #ffb454; --good: #7fd88f; --bad: #ff7b72; color-scheme: dark; }
@media (prefers-color-scheme: light) { :root { --paper: #f7f5f1; --card: #fff; --line: #e2ded6; --ink: #1c1e22;
  --faint: #666c76; --accent: #b8690b; --good: #1f7a38; --bad: #b3261e; color-scheme: light; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 48px 24px 72px; }
h1 { font-size: 2.1rem; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.01em; }
h1::before { content: ""; display: block; width: 48px; height: 5px; background: var(--accent); margin-bottom: 20px; }
h2 { font-size: 1.05rem; margin: 44px 0 14px; }
p.lead { color: var(--faint); max-width: 46rem; margin: 0; }
ul.proof { list-style: none; margin: 0; padding: 0; }
ul.proof li { padding: 6px 0 6px 28px; position: relative; }
ul.proof li::before { content: "✓"; position: absolute; left: 2px; color: var(--good); font-weight: 700; }
ul.proof li.bad::before { content: "✗"; color: var(--bad); }
ol.story { margin: 0; padding-left: 1.4em; }
ol.story li { padding: 3px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 9px 14px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--faint); font-weight: 500; font-size: 0.86rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
td.bar { width: 30%; min-width: 130px; }
td.bar i { display: block; height: 10px; border-radius: 5px; background: var(--accent); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 18px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure > a { display: block; margin: 0; }
figure img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: cover; }
figcaption { padding: 10px 12px 12px; font-size: 0.86rem; }
figcaption b { display: block; font-weight: 600; }
figcaption span { color: var(--faint); display: block; }
a { color: var(--accent); text-decoration: none; margin-right: 0.35em; }
a:hover, a:focus { text-decoration: underline; }
footer { margin-top: 48px; color: var(--faint); font-size: 0.86rem; }
"""


def _link(path: str, words: str) -> str:
    return f'<a href="{quote(path)}">{escape(words)}</a>'


def _figure(report: Report, photo: Photo) -> str:
    work = report.work
    mailbox = Mailbox(Path())
    sizes = " ".join(_link(work.resized(photo, width), str(width)) for width in work.widths)
    mails = " ".join(
        _link(f"mails/{mailbox.path(work.message_id(photo, follower)).name}", follower.name)
        for follower in work.followers
    )
    thumbnail = work.thumbnail(photo)
    return (
        f'<figure><a href="{quote(work.resized(photo, work.widths[0]))}">'
        f'<img src="{quote(thumbnail)}" alt="{escape(photo.title)}" loading="lazy" width="240" height="240"></a>'
        f"<figcaption><b>{escape(photo.title)}</b>"
        f"<span>{photo.size[0]} × {photo.size[1]} {_link(photo.path, 'upload')}</span>"
        f"<span>{sizes}</span><span>{mails}</span></figcaption></figure>"
    )


def _table(report: Report) -> str:
    fastest = max((row.rate for row in report.rows), default=1.0)
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
        + f'<td class="bar"><i style="width:{100 * row.rate / fastest:.0f}%"></i></td></tr>'
        for row in report.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}<th></th></tr></thead><tbody>{rows}</tbody></table></div>'


def _story(lines: list[str]) -> str:
    return '<ol class="story">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ol>"


_CLASS: Final = {True: "", False: ' class="bad"'}


def _checks(findings: list[tuple[bool, str]]) -> str:
    items = (f"<li{_CLASS[good]}>{escape(text)}</li>" for good, text in findings)
    return f'<ul class="proof">{"".join(items)}</ul>'


def write(report: Report, path: Path, title: str, lead: str) -> None:
    """Writes the page."""
    missing = _checks([(False, problem) for problem in report.problems])
    problems = f"<h2>What is missing</h2>{missing}" if report.problems else ""
    figures = "\n".join(_figure(report, photo) for photo in report.photos)
    path.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
{problems}
<h2>What is there, by opening every file and every mail</h2>
{_checks(report.findings)}
<h2>What went wrong on purpose</h2>
{_story(report.story)}
<h2>How fast</h2>
{_table(report)}
<h2>The photos, in each width, and the mails that told of them</h2>
<div class="grid">
{figures}
</div>
<footer>All on one image: {_link("contact-sheet.jpg", "contact sheet")} ·
what the processes said: {_link("logs/", "logs")}</footer>
</main>
</body>
</html>
""",
        encoding="utf-8",
    )
