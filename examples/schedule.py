# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that the job server submits again and again. Needs nothing else: the server is part of the program.

python schedule.py
"""

import threading

from gearfast import AdminClient, Job, Server, Worker

SCHEDULES = {
    "nightly": {"function": "report", "cron": "0 3 * * *", "timezone": "Europe/Berlin", "workload": "all customers"},
}

with Server(schedules=SCHEDULES) as server, AdminClient(server.url) as admin:
    worker = Worker(server.url)
    left = ["first tick", "second tick", "third tick"]

    @worker.function("tick")
    def tick(job: Job) -> None:
        print(left.pop(0))
        if not left:
            worker.stop()

    @worker.function("report")
    def report(job: Job) -> None:
        print("report of", job.workload.decode())

    # One that is added while the server runs.
    admin.add_schedule("tick", "tick", every=0.5)
    admin.run_schedule("nightly")  # not only at night
    for schedule in admin.schedules():
        print(schedule.name, "is due", f"every {schedule.every}" if schedule.every else f"at {schedule.cron}")

    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join()
