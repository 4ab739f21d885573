"""haproxy with the settings of OpenShift's router, and web replicas behind it."""

from __future__ import annotations

import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.test_secret_job import make_certificate
from tests.fixtures.servers import free_port, wait_until
from tests.fixtures.web import WebServer

#: The router's defaults; the tests must change none of them. `timeout server` is that of a Route without our
#: annotation; no annotation can raise `timeout client`.
CONFIG = """
global
    maxconn 4000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    maxconn 4000
    timeout connect 5s
    timeout client 30s
    timeout client-fin 1s
    timeout server 30s
    timeout server-fin 1s
    timeout http-request 10s
    timeout http-keep-alive 300s
    timeout tunnel 1h
frontend fe_no_ssl
    bind 127.0.0.1:{http_port}
    # insecureEdgeTerminationPolicy: Redirect
    redirect scheme https code 302
frontend fe_ssl
    bind 127.0.0.1:{port} ssl crt {certificate} alpn http/1.1
    http-request set-header X-Forwarded-Proto https
    option forwardfor
    default_backend be_edge_http
backend be_edge_http
    balance leastconn
    option redispatch
    option httpchk GET /ready
    timeout check 5s
{servers}
"""


class Router:
    """The proxy in front of replicas' viewing ports; each replica's main port is for training."""

    def __init__(self, folder: Path, view_ports: list[int]) -> None:
        self.port, self.http_port = free_port(), free_port()
        make_certificate(folder)
        certificate = folder / "both.pem"
        certificate.write_text((folder / "ca.crt").read_text() + (folder / "key").read_text())
        servers = "\n".join(
            # In a cluster the endpoints notify the router of a pod that ends; here this check must, so it is quick.
            f"    server pod{number} 127.0.0.1:{port} check inter 500ms fall 1 rise 1"
            for number, port in enumerate(view_ports)
        )
        config = folder / "haproxy.cfg"
        config.write_text(
            CONFIG.format(port=self.port, http_port=self.http_port, certificate=certificate, servers=servers)
        )
        self._process = subprocess.Popen(["haproxy", "-db", "-f", str(config)])
        self.context = ssl.create_default_context(cafile=str(folder / "ca.crt"))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Replica(WebServer):
    """`hud serve` with a viewing port, as in the pod."""

    def __init__(self, redis_url: str) -> None:
        self.view_port = free_port()
        # The router's checks name no host; in a pod, which does not listen on loopback, any is answered.
        environment = {"HUD_VIEW_PORT": str(self.view_port), "HUD_TRUSTED_PROXIES": "*", "HUD_ALLOWED_HOSTS": "*"}
        super().__init__(redis_url, environment=environment)


@contextmanager
def routed(folder: Path, redis_url: str, replicas: int = 3) -> Iterator[tuple[Router, list[Replica]]]:
    """Replicas and a router before them, for the length of a `with` block."""
    started: list[Replica] = []
    router: Router | None = None
    try:
        for _ in range(replicas):
            started.append(Replica(redis_url))
        router = Router(folder, [replica.view_port for replica in started])
        wait_until(lambda: router.has_ended or answers(router), "the router to answer", deadline_s=20)
        assert not router.has_ended, "haproxy did not start: its words stand in the captured output"
        yield router, started
    finally:
        if router is not None:
            router.close()
        for replica in started:
            replica.close()


def answers(router: Router) -> bool:
    """Whether the router answers and has a replica."""
    try:
        with urllib.request.urlopen(f"{router.url}/ready", context=router.context, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
