# SPDX-License-Identifier: BSD-3-Clause
"""Test code that submits jobs against a real server; `pip install gearfast` brings the fixture.

pytest test_with_server.py
"""

from gearfast import Client, Server


def welcome(client: Client, user: str) -> None:
    """The code to be tested: a new user is to get a mail."""
    client.submit_background("mail", f"Welcome, {user}".encode(), unique=f"welcome/{user}")


def test_a_new_user_gets_one_mail(gearfast_server: Server) -> None:
    with Client(gearfast_server.url) as client:
        welcome(client, "ada")
        welcome(client, "ada")
    (job,) = gearfast_server.jobs()
    assert (job.function, job.workload, job.background) == ("mail", b"Welcome, ada", True)
