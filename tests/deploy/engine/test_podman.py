"""The rendered Deployment, started by podman with the Redis of the same manifests beside it."""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.engine.conftest import Engine
from tests.deploy.engine.test_compose import get
from tests.deploy.manifests import render
from tests.deploy.test_redis import PASSWORDS, redis_of_the_pod
from tests.fixtures.web import SseClient, poll


@pytest.fixture
def podman(engine: Engine) -> Iterator[list[str]]:
    """The command, with separate storage; podman requires a short path for it."""
    folder = tempfile.mkdtemp(prefix="podman-")
    yield [
        "podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--runtime", "runc",
        "--cgroup-manager", "cgroupfs", "--storage-driver", engine.storage_driver.removesuffix("2"),
        "--events-backend", "none",
    ]  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def played(engine: Engine, image: str, podman: list[str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """`podman play kube` of the Deployment and its Secret, on the host's network."""
    manifests = render("k8s/overlays/openshift")
    deployment = manifests.one("Deployment", "zelda-hud")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    engine.docker("tag", image, container["image"])
    archive = tmp_path / "image.tar"
    engine.docker("save", "--output", str(archive), container["image"])
    run([*podman, "load", "--quiet", "--input", str(archive)])
    run([*podman, "tag", container["image"], f"localhost/{container['image']}"])

    secret = tmp_path / "secret.json"
    values = {name: base64.b64encode(value.encode()).decode() for name, value in PASSWORDS.items()}
    secret.write_text(json.dumps(values))
    run([*podman, "secret", "create", "zelda-hud-redis", str(secret)])
    # In a cluster the Service's name leads to Redis; here this file does.
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost zelda-hud-redis\n")
    run(["mount", "--bind", str(hosts), "/etc/hosts"])
    file = tmp_path / "play.yaml"
    file.write_text(yaml.safe_dump(as_far_as_podman_knows(deployment)))
    try:
        with redis_of_the_pod(tmp_path, port=6379):
            run([*podman, "play", "kube", "--network", "host", str(file)])
            yield {"pod": container["name"]}
            run([*podman, "play", "kube", "--down", str(file)])
    finally:
        subprocess.run([*podman, "rm", "--all", "--force", "--time", "1"], capture_output=True)
        subprocess.run(["umount", "/etc/hosts"], check=True)


def as_far_as_podman_knows(deployment: dict[str, Any]) -> dict[str, Any]:
    """The same Deployment, without the fields that podman 4.3 does not support.

    On the host's network no ports are mapped and only one replica fits; probes need systemd; and only the kubelet
    expands `$(NAME)` in a variable.
    """
    deployment = copy.deepcopy(deployment)
    deployment["spec"]["replicas"] = 1
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for name in ("ports", "startupProbe", "livenessProbe", "readinessProbe"):
        del container[name]
    for item in container["env"]:
        if "value" in item:
            item["value"] = item["value"].replace("$(REDIS_PASSWORD)", PASSWORDS["web"])
    return deployment


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def test_podman_starts_the_rendered_deployment(played: dict[str, str], podman: list[str]) -> None:
    assert played
    poll(lambda: get(8086, "/ready")[0] == 200, "the Deployment's pod to be ready", 60)
    assert get(8087, "/api/reset_session", method="POST")[0] == 403
    client = SseClient("http://127.0.0.1:8087/stream")
    client.wait(lambda seen: seen.named("status")[-1:] and seen.named("status")[-1]["redis"] == "ok", "the stream")
    client.close()
    (name,) = [name for name in run([*podman, "ps", "--format", "{{.Names}}"]).split() if name.endswith("web")]
    with pytest.raises(AssertionError, match="Read-only"):
        run([*podman, "exec", name, "touch", "/opt/x"])
    run([*podman, "exec", name, "touch", "/tmp/x"])
    assert run([*podman, "exec", name, "id", "-u"]).strip() != "0"
