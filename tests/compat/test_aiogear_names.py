# SPDX-License-Identifier: BSD-3-Clause
"""Every public name of aiogear 0.2.6 is there, with its signature, fields and attributes."""

from __future__ import annotations

import pytest

from gearfast.compat import aiogear

from .old_names import differences

ATTRIBUTES = {
    "Client": "handles loop submit_job submit_job_bg submit_job_high submit_job_high_bg submit_job_low "
    "submit_job_low_bg transport",
    "Worker": "functions grab loop main_task running shutting_down timeout transport waiters",
    "Admin": "buffer linesep loop structure_sep telnet_sep transport waiters",
    "CallbackClient": "handles_to_job loop priority_map submit_job submit_job_high submit_job_low transport "
    "update_callback",
}


def test_every_name_signature_and_value() -> None:
    assert differences("aiogear") == []


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_of_instances(kind: str) -> None:
    thing = getattr(aiogear, kind)()
    assert {name for name in ATTRIBUTES[kind].split() if not hasattr(thing, name)} == set()
    assert thing.transport is None


def test_the_package_exports_what_it_did() -> None:
    assert sorted(aiogear.__all__) == ["Admin", "CallbackClient", "Client", "PacketType", "Worker"]
