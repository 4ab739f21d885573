"""Every command and snippet of the documentation: run here where that is possible, else checked against its target.

A new program, verb or language fails as unclassified until it gets a check.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from hud_web.alerts.config import read_config
from hud_web.cli import _parser
from tests.deploy.documents import PAGES, Block, Line, blocks, lines
from tests.deploy.manifests import COMPONENTS, NAMESPACE, ROOT, Manifests, compose, render
from tests.fixtures.openapi import document

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WHEEL = f"dist/rl_hud-{PROJECT['version']}-py3-none-any.whl"
IMAGES = {f"rl-hud:{PROJECT['version']}", f"rl-hud-ray:{PROJECT['version']}"}
#: Packages of others that a page tells to install.
PACKAGES = {"gymnasium", "numpy", "openai", "pyboy", "pygame", "ray[default]==2.60.0", "wandb"}
#: Placeholders for the reader's values.
PLACEHOLDERS = {"ROUTE-HOST": "hud.example.org", "MODEL": "vision", "FILE": "README.md", "HOST": "localhost", "N": "3"}


class Unclassified(AssertionError):
    """A command without a check."""


@cache
def everything() -> Manifests:
    """All objects that the pages name: both overlays, every component, and the build."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rendered = render(compose(Path(folder) / "all", "openshift", COMPONENTS)).documents
    build = tuple(yaml.safe_load_all((ROOT / "k8s/openshift-build.yaml").read_text()))
    return Manifests(rendered + render("k8s/overlays/local").documents + build)


# ---------------------------------------------------------------- checks of each program


def check_hud(words: list[str]) -> None:
    given = [PLACEHOLDERS.get(word, word) for word in words[1:]]
    given = [re.sub("|".join(PLACEHOLDERS), lambda found: PLACEHOLDERS[found[0]], word) for word in given]
    code = 0
    try:
        _parser().parse_args(given)
    except SystemExit as error:
        code = error.code
    assert code == 0, f"hud refuses {given}"


def check_make(words: list[str]) -> None:
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/*.mk"), *ROOT.glob("*/*/*.mk")]
    targets = {name for path in makefiles for name in re.findall(r"^([a-z][\w-]*):", path.read_text(), re.M)}
    assert {word for word in words[1:] if "=" not in word} <= targets


def check_pip(words: list[str]) -> None:
    assert words[1] == "install", words
    for wanted in words[2:]:
        name, _, extras = wanted.removesuffix("]").partition("[")
        if wanted in PACKAGES:
            continue
        assert name in (WHEEL, "."), (
            f"{wanted}: there is no release on PyPI yet, and {WHEEL} is what `make wheel` builds"
        )
        assert set(filter(None, extras.split(","))) <= set(PROJECT["optional-dependencies"]), wanted


def check_python(words: list[str]) -> None:
    options = words[1:]
    if options[0] == "-c":
        compile(options[1], "a -c option", "exec")
    elif options[0] == "-m":
        if options[1] not in ("venv", "pytest", "pip"):
            path = ROOT / options[1].replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), options[1]
        if options[1] == "pytest":
            assert all((ROOT / word).exists() for word in options[2:] if "/" in word)
    else:
        source = (ROOT / options[0]).read_text()
        for option in (word for word in options if word.startswith("--")):
            assert f'"{option}"' in source, f"{options[0]} has no {option}"


def check_docker(words: list[str]) -> None:
    verb, rest = words[1], words[2:]
    if verb == "compose":
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
        options = argparse.ArgumentParser(exit_on_error=False)
        options.add_argument("--profile", choices=profiles)
        options.add_argument("verb", choices=["up", "down", "ps", "logs"])
        for flag in ("--detach", "--wait", "--build", "--volumes"):
            options.add_argument(flag, action="store_true")
        options.add_argument("--scale")
        scale = options.parse_args(rest).scale
        assert scale is None or scale.partition("=")[0] in services
    elif verb == "build":
        options = argparse.ArgumentParser(exit_on_error=False)
        options.add_argument("-f", default="Dockerfile")
        options.add_argument("-t", required=True)
        options.add_argument("--build-arg", action="append", default=[])
        options.add_argument("folder")
        given = options.parse_args(rest)
        arguments = re.findall(r"^ARG (\w+)", (ROOT / given.f).read_text(), re.M)
        assert {item.partition("=")[0] for item in given.build_arg} <= set(arguments)
        assert (ROOT / given.folder).is_dir()
        check_image(given.t)
        assert ("ray" in given.f) == ("-ray:" in given.t), "the image is built from its own Dockerfile"
    elif verb == "push":
        check_image(rest[0])
    else:
        raise Unclassified(words)


def check_image(name: str) -> None:
    assert name.rpartition("/")[2] in IMAGES, f"expected one of {IMAGES}, got {name}"


def check_kind(words: list[str]) -> None:
    assert words[1:3] == ["load", "docker-image"]
    check_image(words[3])


def check_kubectl(words: list[str]) -> None:
    words, inner = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    options = argparse.ArgumentParser(exit_on_error=False)
    options.add_argument("-n", "--namespace")
    options.add_argument("-l")
    options.add_argument("-c")
    options.add_argument("-f", nargs="?", const=True)
    options.add_argument("-k")
    options.add_argument("-o")
    for name in ("--timeout", "--for", "--from-dir", "--replicas", "--from-literal"):
        options.add_argument(name, action="append")
    options.add_argument("--follow", action="store_true")
    options.add_argument("words", nargs="*")
    given = options.parse_intermixed_args([word for word in words[1:] if word != "-f" or words[1] != "logs"])
    assert given.namespace in (None, NAMESPACE)
    if given.l:
        labels = dict(item.split("=") for item in given.l.split(","))
        service = labels.pop("kubernetes.io/service-name", None)
        assert not service or find(f"service/{service}")
        labels.pop("ray.io/node-type", None)
        assert not labels or everything().matching(labels), given.l
    verb, *rest = given.words
    if verb == "apply" and (given.k or given.f):
        made = {path for page in PAGES for path in re.findall(r"^mkdir -p (\S+)", page.read_text(), re.M)}
        assert given.k in made or (ROOT / (given.k or given.f)).exists(), words
    elif verb == "wait":
        assert rest == ["pod"]
        assert given.l
    elif verb == "create":
        check_secret(rest, given.from_literal)
    elif verb == "exec":
        check_exec(rest[0], given.c, inner)
    elif verb == "port-forward":
        ports = [port["port"] for port in find(rest[0])["spec"]["ports"]]
        assert int(rest[1]) in ports
    elif verb == "new-project":
        assert rest == [NAMESPACE]
    elif verb == "start-build":
        assert everything().one("BuildConfig", rest[0])
    elif verb in ("apply", "get", "describe", "logs", "scale", "delete", "rollout"):
        names = rest[1:] if verb == "rollout" else rest
        if names and "/" not in names[0]:
            names = [f"{names[0]}/{name}" for name in names[1:]]
        for name in names:
            find(name)
        assert names or given.l or rest == [], words
    else:
        raise Unclassified(words)


KINDS = {
    "deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service", "svc": "Service", "route": "Route",
    "secret": "Secret", "pod": "Pod",
}  # fmt: skip


def find(name: str) -> dict[str, Any]:
    """Return the manifest of KIND/NAME."""
    kind, _, name = name.partition("/")
    found = [item for item in everything().of_kind(KINDS[kind]) if item["metadata"]["name"] == name]
    assert found, f"{kind}/{name} is in no manifest"
    return found[0]


def check_secret(words: list[str], literals: list[str] | None) -> None:
    assert words[:2] == ["secret", "generic"]
    used: dict[str, set[str]] = {}
    for _name, container in everything().containers():
        for item in container.get("env", []):
            ref = item.get("valueFrom", {}).get("secretKeyRef")
            if ref:
                used.setdefault(ref["name"], set()).add(ref["key"])
    assert {item.partition("=")[0] for item in literals or []} == used[words[2]]


def check_exec(target: str, container: str | None, inner: list[str]) -> None:
    """`exec` names a pod of a StatefulSet, or deployment/NAME."""
    if "/" in target:
        pod = find(target)["spec"]["template"]
    else:
        pod = find(f"statefulset/{target.rpartition('-')[0]}")["spec"]["template"]
        with_sentinels = [item for item in everything().of_kind("StatefulSet") if item["spec"]["replicas"] == 3]
        pod = with_sentinels[0]["spec"]["template"] if with_sentinels else pod
    containers = {item["name"]: item for item in pod["spec"]["containers"]}
    assert container in (None, *containers)
    if inner[0] == "hud":
        check_hud(inner)
        return
    assert inner[:2] == ["sh", "-c"], inner
    given = {item["name"] for item in containers[container or next(iter(containers))].get("env", [])}
    assert set(re.findall(r"\$(\w+)", inner[2])) <= given, "a variable that the container does not have"


def check_curl(words: list[str]) -> None:
    paths = {re.sub(r"\{\w+\}", "", path) for path in document()["paths"]}
    [url] = [word for word in words if word.startswith(("http", "$HUD_URL"))]
    assert re.sub(r"^(https?://[^/]+|\$HUD_URL)|\?.*$", "", url) in paths, url


def check_nothing(_words: list[str]) -> None:
    """The shell's own words, which need no check."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "hud": check_hud, "rl-hud": check_hud, "make": check_make, "pip": check_pip, "python": check_python,
    "python3": check_python, "docker": check_docker, "kind": check_kind, "kubectl": check_kubectl, "oc": check_kubectl,
    "curl": check_curl, "chromium": check_nothing, "ray": check_nothing, "redis-cli": check_nothing,
    "openssl": check_nothing,
    "export": check_nothing, "cat": check_nothing, "mkdir": check_nothing, "cd": check_nothing,
}  # fmt: skip


@pytest.mark.parametrize("line", lines(), ids=str)
def test_every_command_names_what_exists(line: Line) -> None:
    check(line)


def check(line: Line) -> None:
    for words in line.commands():
        program = words[0].rpartition("/")[2]
        if program not in CHECKS:
            raise Unclassified(f"{line}: no check for {program}")
        CHECKS[program](words)


#: One for each check; each fails only because of the name that does not exist.
BAD = [
    "hud no-such-command", "hud doctor --no-such-option", "make no-such-target", "pip install rl-hud",
    "pip install dist/rl_hud-9.9.9-py3-none-any.whl", f"pip install '{WHEEL}[no-such-extra]'",
    "docker push example.org/zelda-hud:0.1.0", "docker build -t example.org/rl-hud-ray:0.1.0 .",
    "docker compose up --scale no-such=3", "kind load docker-image zelda-hud:0.1.0",
    "kubectl apply -k k8s/overlays/no-such", "kubectl -n other get svc zelda-hud-service",
    "kubectl port-forward service/zelda-hud-service 9999",
    "kubectl create secret generic zelda-hud-redis --from-literal=no-such=x",
    "kubectl exec zelda-hud-redis-0 -c no-such -- sh -c x", "oc start-build no-such", "oc get svc no-such",
    "oc wait pod -l app=no-such", "python examples/pytorch.py --no-such", "curl http://localhost:8086/api/no-such",
    "no-such-program x",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_command_that_cannot_work_is_found(bad: str) -> None:
    with pytest.raises((AssertionError, OSError, ValueError)):
        check(Line("here", bad))


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_block_without_its_language(page: Path) -> None:
    text = re.sub(r"^```\w+\n.*?^```$", "", page.read_text(), flags=re.M | re.S)
    assert "```" not in text, "name the language of every fenced block"
    assert not re.search(r"\n\n    \S", text), "fence the block and name its language"


def test_a_shell_block_can_be_pasted() -> None:
    for block in blocks():
        if block.language == "sh":
            assert "…" not in block.text, f"{block}: an ellipsis is no value"


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_every_block_is_of_a_language_that_is_checked(block: Block, tmp_path: Path) -> None:
    match block.language:
        case "sh":
            assert [line for line in lines() if line.place == str(block)]
        case "python":
            ast.parse(block.text)
        case "yaml":
            assert yaml.safe_load(block.text)
        case "json":
            for text in re.findall(r"^\{.*?\}$", block.text, re.M | re.S):
                if "…" not in text:
                    json.loads(text)
        case "toml":
            (file := tmp_path / "alerts.toml").write_text(block.text)
            assert read_config(str(file)).rules
        case "text" | "mermaid":
            pass
        case other:
            raise Unclassified(f"{block}: {other}")
