"""The manifests: valid, hardened, explained, and in agreement with one another and with the code."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hud_web.api import reading
from hud_web.command import server
from hud_web.live import channels, hub
from hud_web.settings import WebSettings
from tests.deploy.manifests import COMPONENTS, NAMESPACE, ROOT, Document, Manifests, compose, render, tool

SCHEMAS = Path(__file__).parent / "schemas"


@pytest.fixture(scope="module", params=["openshift", "local", "openshift with all components", *COMPONENTS])
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """Each overlay, each component on OpenShift's, and all of them together."""
    name = str(request.param)
    if name in ("openshift", "local"):
        return render(f"k8s/overlays/{name}")
    components = (name,) if name in COMPONENTS else COMPONENTS
    return render(compose(tmp_path_factory.mktemp("kustomize") / "here", "openshift", components))


@pytest.fixture(scope="module")
def openshift() -> Manifests:
    return render("k8s/overlays/openshift")


# ---------------------------------------------------------------- valid


def test_every_document_is_valid_for_kubernetes_or_for_its_own_schema(manifests: Manifests, tmp_path: Path) -> None:
    schemas = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    core = [document for document in manifests.documents if document["kind"] not in schemas]
    for document in manifests.documents:
        if document["kind"] in schemas:
            jsonschema.validate(document, schemas[document["kind"]])
            assert "." in document["apiVersion"].partition("/")[0], "a kind of Kubernetes' own is not for our schemas"
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(core))
    told = tool("kubernetes-validate", "--strict", str(tmp_path / "all.yaml")).stdout
    assert told.count(" passed for resource ") == len(core)


def test_the_validator_would_notice_a_misspelt_field(openshift: Manifests, tmp_path: Path) -> None:
    broken = json.loads(json.dumps(openshift.one("Deployment", "zelda-hud")))
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(broken))
    assert tool("kubernetes-validate", "--strict", str(tmp_path / "broken.yaml"), check=False).returncode != 0


def test_the_image_build_for_openshift_is_valid() -> None:
    documents = list(yaml.safe_load_all((ROOT / "k8s/openshift-build.yaml").read_text()))
    for document in documents:
        jsonschema.validate(document, json.loads((SCHEMAS / f"{document['kind']}.json").read_text()))
    image = render("k8s/overlays/openshift").one("Deployment", "zelda-hud")["spec"]["template"]["spec"]["containers"][0]
    assert documents[1]["spec"]["output"]["to"]["name"] == image["image"]
    assert documents[0]["spec"]["lookupPolicy"]["local"] is True


def test_the_file_for_oc_apply_equals_the_rendered_overlay() -> None:
    rendered = tool("kubectl", "kustomize", "k8s/overlays/openshift").stdout
    assert (ROOT / "k8s/hud-deployment.yaml").read_text() == rendered, "run `make manifests`"


def test_yaml_dockerfile_and_compose_file_have_no_complaint() -> None:
    tool("yamllint", "--strict", "-c", "deploy/yamllint.yaml", "k8s", "deploy", "docker-compose.yml")
    # DL3002: the build stage is root's; the image itself names a user.
    tool("hadolint", "--ignore", "DL3002", "Dockerfile")
    tool("hadolint", "Dockerfile.ray")
    tool("docker-compose", "--file", "docker-compose.yml", "--profile", "demo", "config", "--quiet")


def test_every_finding_of_a_policy_scan_is_explained(tmp_path: Path) -> None:
    """Every overlay, all components, and the Dockerfile; the scan ignores .checkov.yaml, which explains findings."""
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    shutil.copy(ROOT / "Dockerfile.ray", tmp_path / "ray.Dockerfile")
    shutil.copy(ROOT / "k8s/hud-deployment.yaml", tmp_path)
    everything = compose(tmp_path / "kustomize", "openshift", COMPONENTS)
    for name, folder in (("local", "k8s/overlays/local"), ("all", everything)):
        (tmp_path / f"{name}.yaml").write_text(tool("kubectl", "kustomize", folder).stdout)
    shutil.rmtree(everything)
    scans = json.loads(
        tool(
            "checkov", "--skip-download", "--quiet", "--compact", "--output", "json", "--framework", "kubernetes",
            "dockerfile", "--directory", str(tmp_path), check=False, cwd=tmp_path,
        ).stdout
    )  # fmt: skip
    assert {scan["check_type"] for scan in scans} == {"kubernetes", "dockerfile"}
    assert sum(scan["summary"]["passed"] for scan in scans) > 600
    failed = [check for scan in scans for check in scan["results"]["failed_checks"]]
    explained = yaml.safe_load((ROOT / ".checkov.yaml").read_text())["skip-check"]
    found = {check["check_id"]: (check["check_name"], check["resource"]) for check in failed}
    assert found.keys() == set(explained), found
    with_token = {check["resource"].rpartition(".")[2] for check in failed if check["check_id"] == "CKV_K8S_38"}
    assert with_token == {"zelda-hud-secret", "zelda-hud-login-secret", "zelda-hud-login"}


def test_every_explanation_of_the_policy_scan_has_its_reason() -> None:
    lines = (ROOT / ".checkov.yaml").read_text().splitlines()
    for line, before in zip(lines[1:], lines, strict=False):
        if line.startswith("  - "):
            assert before.startswith("  # "), line


# ---------------------------------------------------------------- compatible with existing users


def test_names_are_those_that_scripts_and_notebooks_in_the_field_use(manifests: Manifests) -> None:
    deployment = manifests.one("Deployment", "zelda-hud")
    assert deployment["metadata"]["labels"]["app"] == "zelda-hud"
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "zelda-hud"}
    assert deployment["spec"]["replicas"] == 2
    service = manifests.one("Service", "zelda-hud-service")["spec"]
    assert service["type"] == "ClusterIP"
    assert service["selector"] == {"app": "zelda-hud"}
    assert {port["name"]: port["port"] for port in service["ports"]} == {"http": 8086, "view": 8087}
    for document in manifests.documents:
        if document["kind"] == "Namespace":
            assert document["metadata"]["name"] == NAMESPACE
        else:
            assert document["metadata"]["namespace"] == NAMESPACE, document["metadata"]["name"]


def test_the_route_is_the_one_in_the_field(openshift: Manifests) -> None:
    route = openshift.one("Route", "zelda-hud-route")["spec"]
    assert route["to"]["name"] == "zelda-hud-service"
    assert route["tls"] == {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}


def test_waiting_for_pods_of_app_zelda_hud_waits_for_the_page_and_nothing_else(manifests: Manifests) -> None:
    """`oc wait --for=condition=ready pod -l app=zelda-hud`: a job's pod would never become ready."""
    assert manifests.matching({"app": "zelda-hud"}) == {"Deployment/zelda-hud"}


def test_one_line_changes_the_namespace_everywhere(tmp_path: Path) -> None:
    for overlay in ("openshift", "local"):
        other = render(compose(tmp_path / overlay, overlay, (), namespace="team-a"))
        assert NAMESPACE not in yaml.safe_dump_all(other.documents)
    assert other.one("Namespace", "team-a")


def test_resources_and_scaling_are_as_promised(manifests: Manifests) -> None:
    pod = manifests.one("Deployment", "zelda-hud")["spec"]["template"]["spec"]
    (web,) = pod["containers"]
    assert web["resources"] == {
        "requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"},
    }  # fmt: skip
    scaler = manifests.one("HorizontalPodAutoscaler", "zelda-hud")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "zelda-hud"}
    budget = manifests.one("PodDisruptionBudget", "zelda-hud")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "zelda-hud"}}}
    spread = {constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    redis = manifests.one("StatefulSet", "zelda-hud-redis")["spec"]
    assert redis["volumeClaimTemplates"][0]["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_route_keeps_long_streams(openshift: Manifests) -> None:
    route = openshift.one("Route", "zelda-hud-route")
    noted = {name.removeprefix("haproxy.router.openshift.io/"): value
             for name, value in route["metadata"]["annotations"].items()}  # fmt: skip
    assert (noted["timeout"], noted["balance"], noted["disable_cookies"]) == ("1h", "leastconn", "true")
    # The router's client timeout cannot be raised; the heartbeat must come well before it.
    assert hub.HEARTBEAT_S <= 10


# ---------------------------------------------------------------- in agreement


def test_selectors_find_the_pods_they_mean(manifests: Manifests) -> None:
    for document in manifests.of_kind("Deployment", "StatefulSet"):
        owner = f"{document['kind']}/{document['metadata']['name']}"
        assert manifests.matching(document["spec"]["selector"]["matchLabels"]) == {owner}
    for document in manifests.of_kind("Service"):
        assert manifests.matching(document["spec"]["selector"]), document["metadata"]["name"]
    for document in manifests.of_kind("PodDisruptionBudget"):
        assert manifests.matching(document["spec"]["selector"]["matchLabels"])
    for document in manifests.of_kind("NetworkPolicy"):
        assert manifests.matching(document["spec"]["podSelector"]["matchLabels"]), document["metadata"]["name"]
    for document in manifests.of_kind("ServiceMonitor"):
        labels = document["spec"]["selector"]["matchLabels"]
        (service,) = [s for s in manifests.of_kind("Service") if labels.items() <= s["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {point["port"] for point in document["spec"]["endpoints"]} <= ports


def test_ports_that_services_routes_policies_and_probes_name_are_there(manifests: Manifests) -> None:
    open_ports = {
        owner: {port["name"]: port["containerPort"] for container in pod["spec"]["containers"]
                for port in container.get("ports", [])}
        for owner, pod in manifests.pods()
    }  # fmt: skip
    for document in manifests.of_kind("Service"):
        for owner in manifests.matching(document["spec"]["selector"]):
            for port in document["spec"]["ports"]:
                assert open_ports[owner][port["targetPort"]] == port["port"]
    for document in manifests.of_kind("Route"):
        service = manifests.one("Service", document["spec"]["to"]["name"])
        assert document["spec"]["port"]["targetPort"] in {port["name"] for port in service["spec"]["ports"]}
    for document in manifests.of_kind("NetworkPolicy"):
        for owner in manifests.matching(document["spec"]["podSelector"]["matchLabels"]):
            named = {port["port"] for rule in document["spec"].get("ingress", []) for port in rule.get("ports", [])}
            assert named <= open_ports[owner].keys()
    for name, container in manifests.containers():
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "httpGet" in container.get(probe, {}):
                assert container[probe]["httpGet"]["port"] in ports, name


def test_egress_leads_to_ports_that_are_open_there(manifests: Manifests) -> None:
    for document in manifests.of_kind("NetworkPolicy"):
        for rule in document["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if "podSelector" not in peer:
                    continue
                owners = manifests.matching(peer["podSelector"]["matchLabels"])
                assert owners, document["metadata"]["name"]
                pods = dict(manifests.pods())
                known = {value for owner in owners for container in pods[owner]["spec"]["containers"]
                         for port in container.get("ports", []) for value in port.values()}  # fmt: skip
                assert {port["port"] for port in rule["ports"]} <= known


def test_the_public_way_in_never_leads_to_the_port_that_takes_writes(manifests: Manifests) -> None:
    for route in manifests.of_kind("Route"):
        service = manifests.one("Service", route["spec"]["to"]["name"])
        (port,) = [p for p in service["spec"]["ports"] if p["name"] == route["spec"]["port"]["targetPort"]]
        if service["metadata"]["name"] == "zelda-hud-login":
            (proxy,) = manifests.one("Deployment", "zelda-hud-login")["spec"]["template"]["spec"]["containers"]
            assert "--upstream=http://zelda-hud-service:8087" in proxy["args"]
        else:
            assert (port["name"], port["port"]) == ("view", 8087)
    for policy in manifests.of_kind("NetworkPolicy"):
        if policy["metadata"]["name"] == "zelda-hud-router":
            (rule,) = policy["spec"]["ingress"]
            assert "http" not in {port["port"] for port in rule["ports"]}


def test_nothing_reaches_a_pod_of_the_hud_unless_a_policy_allows_it(manifests: Manifests) -> None:
    deny = manifests.one("NetworkPolicy", "zelda-hud-default-deny")["spec"]
    assert (deny["policyTypes"], "ingress" in deny, "egress" in deny) == (["Ingress", "Egress"], False, False)
    ours = {owner for owner, _pod in manifests.pods() if not owner.startswith("RayJob/")}
    assert manifests.matching(deny["podSelector"]["matchLabels"]) == ours
    # Every other pod of the namespace is unaffected.
    assert all(policy["spec"]["podSelector"] for policy in manifests.of_kind("NetworkPolicy"))


def test_probes_ask_paths_of_the_web_tier_and_wait_longer_than_its_time_limit(manifests: Manifests) -> None:
    (web,) = manifests.one("Deployment", "zelda-hud")["spec"]["template"]["spec"]["containers"]
    paths = {probe: web[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert {web[probe]["httpGet"]["port"] for probe in paths} == {"http"}
    assert web["readinessProbe"]["timeoutSeconds"] > reading.READY_TIMEOUT_S


def test_a_pod_that_ends_has_time_for_its_drain(manifests: Manifests) -> None:
    pod = manifests.one("Deployment", "zelda-hud")["spec"]["template"]["spec"]
    command, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + channels.DRAIN_S + server.GRACE_S


def test_variables_are_settings_that_exist_and_can_be_read(manifests: Manifests) -> None:
    known = {item.metadata["variable"] for item in fields(WebSettings)}
    for name, container in manifests.containers():
        given = {item["name"]: item.get("value") for item in container.get("env", [])}
        ours = {variable for variable in given if variable.startswith(("HUD_", "REDIS_URL"))}
        assert ours - {"HUD_REDIS_PASSWORD"} <= known, name
        plain = {variable: str(given[variable]) for variable in ours & known if given[variable] is not None}
        plain = {variable: re.sub(r"\$\((\w+)\)", "secret", value) for variable, value in plain.items()}
        WebSettings.from_env(plain)


def test_a_variable_precedes_the_variables_that_contain_it(manifests: Manifests) -> None:
    for name, container in manifests.containers():
        seen: set[str] = set()
        for item in container.get("env", []):
            assert set(re.findall(r"\$\((\w+)\)", item.get("value", ""))) <= seen, name
            seen.add(item["name"])


def test_every_secret_is_made_by_a_job_or_optional_and_none_is_in_a_file(manifests: Manifests) -> None:
    made: dict[str, set[str]] = {}
    for job in manifests.of_kind("Job"):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        name, *keys = container["args"]
        made[name] = set(keys)
    assert manifests.of_kind("Secret") == []
    for owner, pod in manifests.pods():
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume and not volume["secret"].get("optional"):
                assert volume["secret"]["secretName"] in made, owner
    for owner, container in manifests.containers():
        for item in container.get("env", []):
            wanted = item.get("valueFrom", {}).get("secretKeyRef")
            if wanted and not wanted.get("optional"):
                assert wanted["key"] in made[wanted["name"]], owner
    for account in manifests.of_kind("Role"):
        assert account["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]


def test_volumes_are_there_and_config_maps_have_the_files(manifests: Manifests) -> None:
    for owner, pod in manifests.pods():
        claims = [c["metadata"]["name"] for document in manifests.of_kind("StatefulSet")
                  for c in document["spec"].get("volumeClaimTemplates", [])]  # fmt: skip
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | set(claims)
        for container in pod["spec"]["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, owner
            _expect_script_in_config_map(manifests, pod, container)


def _expect_script_in_config_map(manifests: Manifests, pod: Document, container: Document) -> None:
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    for part in container.get("command", []):
        folder, _, file = part.rpartition("/")
        if folder in mounts:
            (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == mounts[folder]]
            assert file in manifests.one("ConfigMap", volume["configMap"]["name"])["data"]


# ---------------------------------------------------------------- hardened


def test_every_pod_meets_the_restricted_standard(manifests: Manifests) -> None:
    for owner, pod in manifests.pods():
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, owner
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert context.get("runAsUser") != 0, owner
        assert pod["spec"]["enableServiceLinks"] is False, owner
        needs_token = owner.startswith("Job/") or owner == "Deployment/zelda-hud-login"
        assert pod["spec"]["automountServiceAccountToken"] is needs_token, owner
    for name, container in manifests.containers():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        # Ray writes into its root file system.
        assert name.startswith("RayJob/") or context["readOnlyRootFilesystem"] is True, name


def test_every_container_asks_for_and_is_limited_in_processor_and_memory(manifests: Manifests) -> None:
    for name, container in manifests.containers():
        for kind in ("requests", "limits"):
            assert container["resources"][kind].keys() == {"cpu", "memory"}, name


def test_images_have_versions(manifests: Manifests) -> None:
    for name, container in manifests.containers():
        assert re.fullmatch(r"[a-z0-9./\-]+:[0-9][\w.\-]*", container["image"]), name


def test_every_pod_is_labelled_as_part_of_the_hud(manifests: Manifests) -> None:
    for document in manifests.documents:
        if document["kind"] not in ("Namespace", "RayJob"):
            assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "zelda-hud", document["metadata"]


def test_redis_has_room_above_its_limit(openshift: Manifests) -> None:
    (config,) = [c for c in openshift.of_kind("ConfigMap") if "redis.conf" in c["data"]]
    most = int(re.search(r"^maxmemory (\d+)mb$", config["data"]["redis.conf"], re.M)[1])  # type: ignore[index]
    (redis,) = openshift.one("StatefulSet", "zelda-hud-redis")["spec"]["template"]["spec"]["containers"]
    assert redis["resources"]["limits"]["memory"] == "1Gi"
    assert most <= 1024 * 0.7
    assert re.search(r"^maxmemory-policy noeviction$", config["data"]["redis.conf"], re.M)


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist(manifests: Manifests) -> None:
    dashboards = [c for c in manifests.of_kind("ConfigMap") if "hud.json" in c["data"]]
    rules = manifests.of_kind("PrometheusRule")
    if not dashboards:
        assert not rules
        return
    board = json.loads(dashboards[0]["data"]["hud.json"])
    asked: list[Any] = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for document in rules for group in document["spec"]["groups"] for rule in group["rules"]]
    source = (ROOT / "hud_web/api/metrics.py").read_text()
    known = set(re.findall(r'"(hud_[a-z_]+)"', source))
    for expression in asked:
        for name in re.findall(r"\bhud_[a-z_]+", expression):
            assert name.removesuffix("_total").removesuffix("_bucket") in known, expression
