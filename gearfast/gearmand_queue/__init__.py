# SPDX-License-Identifier: BSD-3-Clause
"""The persistent queues of gearmand, read and never written.

row.py       one job as gearmand keeps it, whatever it is kept in
sqlite.py    -q libsqlite3;  postgres.py  -q Postgres;  mysql.py  -q MySQL;  redis.py  -q redis
urls.py      from a URL to one of them
"""

from __future__ import annotations

__all__: list[str] = []
