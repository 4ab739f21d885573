"""examples/run-kuberay.ipynb, run with a fake `oc` and a fake Ray that record their calls."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "examples/run-kuberay.ipynb").read_text())

#: A fake oc that records its arguments and answers as a cluster does.
OC = """#!/bin/sh
echo "$*" >> "$OC_LOG"
case "$*" in
    *"get service"*) echo service/zelda-training-head-svc ;;
    *"get route"*) printf hud.apps.example.org ;;
    *"hud doctor"*) echo '{"ok": true, "findings": [{"cause": "held"}]}' ;;
    *) echo done ;;
esac
"""


def test_it_is_a_notebook_without_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert cell["id"]
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_it_applies_waits_prints_the_route_and_submits_a_job_with_hud_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "oc.log"
    (tmp_path / "oc").write_text(OC)
    (tmp_path / "oc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("OC_LOG", str(log))
    monkeypatch.setenv("HUD_REPOSITORY", str(ROOT))
    for name in ("NAMESPACE", "ENTRYPOINT", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    submitted: list[dict[str, Any]] = []
    asked_at: list[str] = []
    ray, jobs = ModuleType("ray"), ModuleType("ray.job_submission")
    client = SimpleNamespace(submit_job=lambda **options: submitted.append(options) or "job-1")
    jobs.JobSubmissionClient = lambda address: asked_at.append(address) or client  # type: ignore[attr-defined]
    monkeypatch.setattr("time.sleep", lambda _s: None)  # it waits for the port-forward
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.job_submission", jobs)

    names: dict[str, Any] = {}
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)

    asked = [line.removeprefix("--namespace zelda-hybrid-rl-llm ") for line in log.read_text().splitlines()]
    applied = ROOT / "k8s/hud-deployment.yaml"
    assert asked[:3] == [
        f"apply -f {applied}",
        "wait --for=condition=ready pod -l app=zelda-hud --timeout=120s",
        "get route zelda-hud-route -o jsonpath={.spec.host}",
    ]
    assert applied.exists()
    assert names["forward"].wait(10) == 0
    assert "port-forward service/zelda-training-head-svc 8265" in log.read_text()
    assert asked_at == ["http://localhost:8265"]
    url = "http://zelda-hud-service.zelda-hybrid-rl-llm.svc.cluster.local:8086"
    assert submitted[0]["runtime_env"]["env_vars"]["HUD_URL"] == url
    told = capsys.readouterr().out
    assert "open      https://hud.apps.example.org" in told
    assert "a run is on the page" in told
