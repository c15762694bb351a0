# SPDX-License-Identifier: BSD-3-Clause
"""The main job, shown: photos are resized, thumbnails are made and mailed, while a worker and a server are killed.

    plan.py       what is to be there at the end: photos, followers, jobs and their names
    images.py     what a worker does with a photo
    mail.py       the mail, the SMTP server that receives it, and the mailbox on disk
    ledger.py     what each worker process writes down about its jobs
    worker.py     the worker process
    uploads.py    the photos that are uploaded
    processes.py  child processes, none of which outlives the demo;  leash.py  how they notice that it has ended
    uploader.py   the client: submits the jobs of a round
    keeper.py     the job server with a store, which is killed and started again
    losses.py     kills one worker and one job server
    proof.py      looks at the files and the mails
    report.py     the figures and their words
    progress.py   bars, or lines when the output is no terminal
    sheet.py      the contact sheet;  page.py  the HTML page;  show.py  the whole run

It needs `pip install "gearfast[demo]"`. Nothing here is imported by the rest of gearfast.
"""

from __future__ import annotations

__all__: list[str] = []
