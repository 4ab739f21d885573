"""Renders k8s/ with kubectl's kustomize, and finds objects in the result."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".make" / "tools" / "bin"
NAMESPACE = "zelda-hybrid-rl-llm"
COMPONENTS = ("oauth-proxy", "redis-sentinel", "monitoring", "kuberay", "alerts")

Document = dict[str, Any]


def tool(name: str, *arguments: str, check: bool = True, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run one of the deployment's tools; it must be there."""
    path = TOOLS / name
    assert path.exists(), f"expected {path}: run `make .make/tools/ok`"
    done = subprocess.run([str(path), *arguments], capture_output=True, text=True, cwd=cwd, timeout=110)
    assert not check or done.returncode == 0, f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done


@dataclass(frozen=True)
class Manifests:
    """The objects of one rendering."""

    documents: tuple[Document, ...]

    def of_kind(self, *kinds: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] in kinds]

    def one(self, kind: str, name: str) -> Document:
        (found,) = [document for document in self.of_kind(kind) if document["metadata"]["name"] == name]
        return found

    def pods(self) -> Iterator[tuple[str, Document]]:
        """Yield (owner, pod template) of everything that runs pods."""
        for document in self.of_kind("Deployment", "StatefulSet", "Job"):
            yield f"{document['kind']}/{document['metadata']['name']}", document["spec"]["template"]
        for document in self.of_kind("RayJob"):
            cluster = document["spec"]["rayClusterSpec"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                labels = {"ray.io/is-ray-node": "yes"}
                yield f"RayJob/{document['metadata']['name']}", {"metadata": {"labels": labels}} | group["template"]

    def containers(self) -> Iterator[tuple[str, Document]]:
        for owner, pod in self.pods():
            for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
                yield f"{owner}/{container['name']}", container

    def matching(self, labels: dict[str, str]) -> set[str]:
        """The owners of pods that carry all these labels; the name that a StatefulSet gives each pod is one of them."""
        labels = {name: value for name, value in labels.items() if name != "statefulset.kubernetes.io/pod-name"}
        return {owner for owner, pod in self.pods() if labels.items() <= pod["metadata"].get("labels", {}).items()}


@cache
def render(folder: str) -> Manifests:
    """Return the objects of a kustomization."""
    text = tool("kubectl", "kustomize", folder).stdout
    return Manifests(tuple(document for document in yaml.safe_load_all(text) if document))


def compose(folder: Path, overlay: str, components: tuple[str, ...], namespace: str = NAMESPACE) -> str:
    """Write a kustomization of an overlay with components, as docs/kubernetes.md tells users to; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    up = "/".join([".."] * (len(folder.resolve().parts) - 1))
    base = f"{up}{ROOT}/k8s"
    written: Document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [f"{base}/overlays/{overlay}"],
        "components": [f"{base}/components/{name}" for name in components],
        "namespace": namespace,
    }  # fmt: skip
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(written))
    return str(folder)
