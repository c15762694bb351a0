# SPDX-License-Identifier: BSD-3-Clause
"""Talk to a job server over TLS with a client certificate. Needs such a server and worker.py.

gearfast server --tls-cert server.pem --tls-client-ca ca.pem
python tls.py gearmans://localhost:4730 ca.pem client.pem
"""

import ssl
import sys

from gearfast import Client

server, authority, certificate = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.load_cert_chain(certificate)

with Client(server, ssl=context) as client:
    print(client.echo(b"through TLS"))
