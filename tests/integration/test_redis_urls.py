"""Every form of REDIS_URL reaches its Redis: socket, password, TLS, sentinels, cluster."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from hud_publisher import Publisher
from hud_publisher.protocol.keys import ChannelKeys
from hud_publisher.sinks.redis_client import connect
from tests.fixtures.servers import Server, die_with_parent, free_port, redis_binary, running, wait_until

KEYS = ChannelKeys("default")


def assert_it_publishes(url: str) -> None:
    """A publisher with this URL registers and its entries land."""
    with Publisher(redis_url=url) as hud:
        hud.log({"a": 1}, step=1)
        wait_until(lambda: hud.stats.sent.get("metrics") == 1, f"an entry through {url}", deadline_s=20)
        sid = hud.sid
    client = connect(url)
    assert client.execute_command("XLEN", KEYS.session(sid or "").stream("metrics")) == 1
    client.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Start servers with extra arguments."""
    with ExitStack() as stack:
        yield lambda *extra: stack.enter_context(running(redis_binary(), tmp_path / str(len(extra)), *extra))


def test_a_database_number(redis_server: Server) -> None:
    assert_it_publishes(f"redis://127.0.0.1:{redis_server.port}/3")
    with redis.Redis.from_url(f"redis://127.0.0.1:{redis_server.port}/3") as link:
        assert link.exists(KEYS.fence)


def test_a_unix_socket(start: Any, tmp_path: Path) -> None:
    start("--unixsocket", str(tmp_path / "redis.sock"))
    assert_it_publishes(f"unix://{tmp_path}/redis.sock?db=2")


def test_a_user_with_a_password(redis_server: Server) -> None:
    with redis.Redis.from_url(redis_server.url) as link:
        link.acl_setuser("trainer", enabled=True, passwords=["+p@ss/word"], keys=["hud:*"], commands=["+@all"])
        link.acl_setuser("default", enabled=False)
    assert_it_publishes(f"redis://trainer:p%40ss%2Fword@127.0.0.1:{redis_server.port}/0")
    with Publisher(redis_url=f"redis://trainer:wrong@127.0.0.1:{redis_server.port}/0") as hud:
        hud.log({"a": 1})
        wait_until(lambda: hud.stats.failures, "the refusal")


def test_tls(start: Any, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl, "expected openssl on PATH: apt-get install openssl"
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    start(
        "--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
        "--tls-auth-clients", "no",
    )  # fmt: skip
    assert_it_publishes(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}")
    assert_it_publishes(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none")
    with Publisher(redis_url=f"rediss://localhost:{port}/0") as hud:  # a certificate of an unknown authority
        hud.log({"a": 1})
        wait_until(lambda: hud.stats.failures, "the refusal")


def test_a_master_found_by_sentinels(redis_server: Server, tmp_path: Path) -> None:
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"sentinel monitor hud 127.0.0.1 {redis_server.port} 1\n")
    with running_sentinel(configuration) as port:
        assert_it_publishes(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/hud/0")


@contextmanager
def running_sentinel(configuration: Path) -> Iterator[int]:
    port = free_port()
    command = [redis_binary(), str(configuration), "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        with redis.Redis(port=port, socket_timeout=2) as link:
            wait_until(lambda: answers(link), "the sentinel")
        yield port
    finally:
        process.kill()
        process.wait(10)


def answers(link: redis.Redis) -> bool:
    try:
        return bool(link.ping())
    except redis.ConnectionError:
        return False


def test_a_cluster(start: Any) -> None:
    port = str(free_port())  # the default is no port where the server has a high one
    server = start("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", port)
    with redis.Redis.from_url(server.url) as link:
        link.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in link.execute_command("CLUSTER", "INFO"), "the cluster")
    assert_it_publishes(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{server.port}")
