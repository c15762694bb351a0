# SPDX-License-Identifier: BSD-3-Clause
"""The server's TLS context."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gearfast.server.config import ConfigError, ServerConfig
from gearfast.server.tls import make_context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> dict[str, str]:
    leaf = authority.issue_cert("127.0.0.1")
    names = {"cert": "cert.pem", "key": "key.pem", "both": "both.pem", "ca": "ca.pem"}
    paths = {kind: tmp_path / name for kind, name in names.items()}
    leaf.cert_chain_pems[0].write_to_path(paths["cert"])
    leaf.private_key_pem.write_to_path(paths["key"])
    leaf.private_key_and_cert_chain_pem.write_to_path(paths["both"])
    authority.cert_pem.write_to_path(paths["ca"])
    return {kind: str(path) for kind, path in paths.items()}


def test_none_without_certificate() -> None:
    assert make_context(ServerConfig()) is None


def test_key_beside_or_within_the_certificate(files: dict[str, str]) -> None:
    for config in (
        ServerConfig(tls_cert=files["cert"], tls_key=files["key"]),
        ServerConfig(tls_cert=files["both"]),
    ):
        context = make_context(config)
        assert context is not None
        assert context.verify_mode is ssl.CERT_NONE
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_client_ca_demands_certificates(files: dict[str, str]) -> None:
    context = make_context(ServerConfig(tls_cert=files["both"], tls_client_ca=files["ca"]))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_errors_name_the_file(files: dict[str, str], tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigError, match=r"tls_cert: .*missing\.pem.*: No such file"):
        make_context(ServerConfig(tls_cert=missing))
    with pytest.raises(ConfigError, match=r"tls_client_ca: .*missing\.pem"):
        make_context(ServerConfig(tls_cert=files["both"], tls_client_ca=missing))
    with pytest.raises(ConfigError, match=r"tls_cert: .*ca\.pem"):
        make_context(ServerConfig(tls_cert=files["ca"], tls_key=files["key"]))


def test_an_encrypted_key_is_refused_without_asking(files: dict[str, str], tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(files["key"]).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match="encrypted"):
        make_context(ServerConfig(tls_cert=files["cert"], tls_key=str(locked)))
