"""The job that makes the passwords, against an API server that answers as Kubernetes does."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "k8s/base/secret/make_secret.py"


class Cluster:
    """Accepts each Secret once, from clients with the right token."""

    def __init__(self, folder: Path) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.refuses = False
        cluster = self

        class Api(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                cluster.asked.append((self.command, self.path))
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = 201
                if self.headers["Authorization"] != "Bearer the-token" or cluster.refuses:
                    status = 403
                elif body["metadata"]["name"] in cluster.secrets:
                    status = 409
                else:
                    cluster.secrets[body["metadata"]["name"]] = body
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        make_certificate(folder)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def make_certificate(folder: Path) -> None:
    """A certificate for 127.0.0.1 and localhost as ca.crt, its key as key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", str(folder / "key"), "-out", str(folder / "ca.crt")],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    (tmp_path / "token").write_text("the-token\n")
    (tmp_path / "namespace").write_text("team-a")
    yield cluster
    cluster.close()


def run(folder: Path, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "SERVICE_ACCOUNT_FOLDER": str(folder), "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.port),
    }  # fmt: skip
    command = [sys.executable, str(SCRIPT), "zelda-hud-redis", "web", "publisher", "admin"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_it_makes_passwords_that_differ_and_fit_a_url(tmp_path: Path, cluster: Cluster) -> None:
    done = run(tmp_path, cluster)
    assert done.returncode == 0, done.stderr
    made = cluster.secrets["zelda-hud-redis"]["stringData"]
    assert made.keys() == {"web", "publisher", "admin"}
    assert len(set(made.values())) == 3
    assert all(value.isalnum() and len(value) >= 40 for value in made.values())
    assert cluster.asked == [("POST", "/api/v1/namespaces/team-a/secrets")]
    assert not any(value in done.stdout + done.stderr for value in made.values())


def test_it_leaves_a_secret_that_exists(tmp_path: Path, cluster: Cluster) -> None:
    run(tmp_path, cluster)
    before = json.dumps(cluster.secrets)
    done = run(tmp_path, cluster)
    assert (done.returncode, json.dumps(cluster.secrets)) == (0, before)
    assert "exists already" in done.stdout


def test_it_fails_with_advice_when_it_is_refused(tmp_path: Path, cluster: Cluster) -> None:
    cluster.refuses = True
    done = run(tmp_path, cluster)
    assert done.returncode == 1
    assert "oc create secret generic zelda-hud-redis" in done.stderr


def test_it_does_not_talk_to_a_server_that_it_cannot_trust(tmp_path: Path, cluster: Cluster) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_certificate(other)
    (tmp_path / "ca.crt").write_text((other / "ca.crt").read_text())
    assert run(tmp_path, cluster).returncode != 0
    assert cluster.asked == []
