"""The commands and snippets of the documentation that can run here, run as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from hud_publisher.protocol.keys import ChannelKeys
from tests.deploy.documents import Block, blocks, lines
from tests.deploy.manifests import NAMESPACE, ROOT, TOOLS, Manifests, render
from tests.fixtures.servers import Server
from tests.fixtures.web import WebServer, poll

#: The environment of the tests, without settings of HUD and Redis.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("HUD_", "REDIS_"))}


def block_with(page: str, words: str, language: str = "sh") -> str:
    """Return the text of the one block of a page that has these words."""
    [found] = [block for block in blocks() if (block.page, block.language) == (page, language) and words in block.text]
    return found.text


# ---------------------------------------------------------------- images

#: A fake docker and kind that records its arguments. The fake kubectl really renders the objects to apply.
NOTE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$LOG"
"""
KUBECTL = f"""#!/bin/sh
echo "kubectl $*" >>"$LOG"
if [ "$1 $2" = "apply -k" ]; then exec {TOOLS}/kubectl kustomize "$3" >"$APPLIED"; fi
"""


def run_on_a_cluster(script: str, folder: Path) -> tuple[list[str], Manifests]:
    """Run a script in a copy of k8s/ with the fake programs; return the commands and the applied objects."""
    for name, text in {"docker": NOTE, "kind": NOTE, "kubectl": KUBECTL}.items():
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    clone = folder / "clone"
    shutil.copytree(ROOT / "k8s", clone / "k8s", dirs_exist_ok=True)
    environment = ENVIRONMENT | {
        "PATH": f"{folder}/bin:{os.environ['PATH']}", "LOG": f"{folder}/log", "APPLIED": f"{folder}/applied.yaml",
    }  # fmt: skip
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=environment, check=True, timeout=60)
    applied = tuple(item for item in yaml.safe_load_all((folder / "applied.yaml").read_text()) if item)
    return (folder / "log").read_text().splitlines(), Manifests(applied)


def images(manifests: Manifests, name: str) -> set[str]:
    """Return the images of this name, wherever they come from."""
    found = {container["image"] for _owner, container in manifests.containers()}
    return {image for image in found if image.rpartition("/")[2].partition(":")[0] == name}


def test_the_image_that_is_pushed_is_the_one_that_the_overlay_pulls(tmp_path: Path) -> None:
    commands, applied = run_on_a_cluster(
        block_with("docs/kubernetes.md", "kubectl apply -k k8s/overlays/mine"), tmp_path
    )
    [pushed] = [command.split()[-1] for command in commands if command.startswith("docker push")]
    assert f"docker build -t {pushed} ." in commands
    assert images(applied, "rl-hud") == {pushed}
    assert applied.one("Namespace", NAMESPACE)


def test_the_image_that_kind_loads_is_the_one_that_the_overlay_pulls(tmp_path: Path) -> None:
    commands, applied = run_on_a_cluster(block_with("docs/kubernetes.md", "kind load"), tmp_path)
    [loaded] = [command.split()[-1] for command in commands if command.startswith("kind load")]
    assert f"docker build -t {loaded} ." in commands
    assert images(applied, "rl-hud") == {loaded}


def test_the_ray_image_that_is_pushed_is_the_one_that_the_job_pulls(tmp_path: Path) -> None:
    overlay = block_with("docs/kubernetes.md", "kubectl apply -k k8s/overlays/mine")
    component = block_with("docs/kubernetes.md", "components: [../../components/kuberay]", "yaml")
    script = re.sub(r"^images:\n.*\n", component, overlay, flags=re.M)
    script = block_with("docs/kubernetes.md", "docker build -f Dockerfile.ray") + script
    commands, applied = run_on_a_cluster(script, tmp_path)
    pushed = {command.split()[-1] for command in commands if command.startswith("docker push")}
    assert images(applied, "rl-hud") | images(applied, "rl-hud-ray") == pushed
    assert len(pushed) == 2


def test_compose_and_the_overlays_name_the_same_image() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    composed = {re.sub(r"\$\{\w+:-(.*)\}", r"\1", services[name]["image"]) for name in ("hud-web", "demo")}
    for overlay in ("local", "openshift"):
        assert images(render(f"k8s/overlays/{overlay}"), "rl-hud") == composed


def test_every_place_that_names_the_version_of_ray_names_the_same() -> None:
    recipe = (ROOT / "Dockerfile.ray").read_text()
    [version] = re.findall(r"^ARG RAY=(\S+)$", recipe, re.M)
    job = yaml.safe_load((ROOT / "k8s/components/kuberay/rayjob.yaml").read_text())
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    assert f"\nray=={version} " in (ROOT / "requirements/rllib.txt").read_text()
    for place in ("examples/run-kuberay.ipynb", "docs/kubernetes.md", "docs/rllib.md"):
        assert version.removesuffix(".0") in (ROOT / place).read_text(), place
    # The build context of both images is the same; .dockerignore admits the files that pip needs.
    assert "COPY --chown=1000:100 . /tmp/rl-hud" in recipe


# ---------------------------------------------------------------- snippets of Python

_ENV = """
import numpy, gymnasium
class Small(gymnasium.Env):
    render_mode = "rgb_array"
    observation_space = action_space = gymnasium.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None): return 0, {"lives": 3}
    def step(self, action): return 0, 1.0, False, False, {"lives": 3}
    def render(self): return numpy.zeros((8, 8, 3), numpy.uint8)
env = Small()
"""
_HUD = "from hud_publisher import Publisher\nhud = Publisher()\n"
_WANDB = """
import sys, types
class Run:
    url = "https://wandb.example.org"
    def log(self, metrics, step): pass
    def finish(self): pass
sys.modules["wandb"] = types.SimpleNamespace(init=lambda **options: Run())
"""
#: Snippets that run here: the code before and after each, by its page and a line of it.
RUN = {
    ("README.md", 'hud = Publisher(name="my run")'): ("", ""),
    ("docs/publisher.md", "hud.log_iteration("): (_ENV + "jpeg = env.render()\n", ""),
    ("docs/publisher.md", "client = watch_openai("): (
        "import os\nos.environ['OPENAI_API_KEY'] = 'none'\n" + _HUD, "\nhud.log({'watched': 1})\nhud.close()\n",
    ),
    ("docs/publisher.md", "env = HudWrapper("): (_ENV + _HUD, "\nenv.reset()\nenv.step(0)\nhud.close()\n"),
    ("docs/publisher.md", "hud.wants_mind()"): (
        _HUD + "obs, step = [0.0, 1.0], 1\n", "\nhud.log({'step': step})\nhud.close()\n",
    ),
    ("docs/publisher.md", "hud.show()"): (
        "from hud_publisher import Publisher\n", "\nhud.log({'shown': 1})\nhud.close()\n",
    ),
    ("docs/publisher.md", "Histogram("): ("", ""),
    ("docs/wandb.md", "run = wandb.init("): (_WANDB, ""),
}  # fmt: skip
#: Snippets that are only compiled here, and the reason.
COMPILED = {
    ("README.md", ".callbacks(HudCallbacks)"): "needs Ray: tests/rllib/test_documentation.py runs it",
    ("docs/rllib.md", "config.callbacks(HudCallbacks)"): "lines of a larger program; tests/rllib uses each form",
    ("docs/tune.md", "tune.Tuner("): "needs Ray: tests/rllib/test_documentation.py runs it",
    ("docs/tune.md", "ray.init("): "connects to a cluster",
    (
        "docs/wandb.md",
        "WandbLoggerCallback",
    ): "needs Ray and wandb: tests/rllib/test_documentation.py imports its parts",
    ("docs/publisher.md", "model.learn("): "needs Stable-Baselines3: tests/rllib runs the callback",
    ("docs/rllib.md", "PPOWithValues"): "lines of a larger program: tests/rllib/test_minds.py uses the module",
}


def kind_of(block: Block) -> list[tuple[str, str]]:
    return [key for key in [*RUN, *COMPILED] if key[0] == block.page and key[1] in block.text]


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_every_snippet_of_python_runs_or_has_a_reason_why_not(
    block: Block, redis_server: Server, tmp_path: Path
) -> None:
    keys = kind_of(block)
    assert len(keys) == 1, f"{block}: add it to RUN, or to COMPILED with its reason"
    compile(block.text, str(block), "exec")
    if keys[0] not in RUN:
        return
    before, after = RUN[keys[0]]
    (tmp_path / "snippet.py").write_text(before + block.text.replace("range(600)", "range(60)") + after)
    environment = ENVIRONMENT | {"REDIS_URL": redis_server.url, "PYTHONPATH": str(ROOT), "HUD_FRAMES": "always"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "snippet.py"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with redis.Redis.from_url(redis_server.url) as link:
        fence = link.get(ChannelKeys("default").fence)
        assert fence, f"nothing was published: {done.stderr}"
        state = link.hgetall(ChannelKeys("default").session(fence.decode()).state)
    logged = set(re.findall(r'hud\.log(?:_iteration)?\(\{"(\w+)"', block.text))
    assert logged <= {path.decode().strip('[]"').split('"')[0] for path in state}
    assert state


def test_no_snippet_is_listed_that_is_gone() -> None:
    listed = {key for block in blocks() if block.language == "python" for key in kind_of(block)}
    assert listed == RUN.keys() | COMPILED.keys()


# ---------------------------------------------------------------- shell


def test_the_client_of_the_protocol_page_works_in_a_shell(web: WebServer) -> None:
    script = block_with("docs/protocol.md", "api/register_session").replace("http://localhost:8086", web.url)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert '"episode_reward": 12.5' in re.sub(r'":(?=\S)', '": ', done.stdout)
    assert web.get("/api/state")[1]["session"]["status"] == "ended"


class Installed:
    """A fresh machine after the steps of the README: a clone, a home folder, an environment with the wheel."""

    def __init__(self, folder: Path) -> None:
        self.home, self.clone = folder / "home", folder / "clone"
        tracked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
            check=True,
        ).stdout.split("\n")  # fmt: skip
        for name in filter(None, tracked):
            if (ROOT / name).is_file() and not name.startswith(("docs/screenshots/", "tests/", "bench/")):
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.clone / name)
        self.home.mkdir()
        kept = {
            name: value for name, value in ENVIRONMENT.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS")
        }
        self.environment = kept | {"HOME": str(self.home), "PYTHON": sys.executable, "XDG_RUNTIME_DIR": str(folder)}
        # pip's own configuration, such as a mirror, is in the real home folder.
        for place in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
            if place.exists():
                self.environment["PIP_CONFIG_FILE"] = str(place)

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.clone, env=self.environment, capture_output=True,
            text=True, timeout=400,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("fresh"))
    *steps, last = block_with("README.md", "make wheel").strip().splitlines()
    assert last == "~/hud/bin/hud up"
    done = made.sh("\n".join(steps))
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def up(installed: Installed) -> Iterator[str]:
    """The last step of the README, on a free port; yields the page's address."""
    process = subprocess.Popen(
        ["bash", "-c", "exec ~/hud/bin/hud up"], cwd=installed.clone, env=installed.environment | {"HUD_PORT": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://localhost:\d+", line)
        assert found, line
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.timeout(600)
def test_the_steps_of_the_readme_lead_to_a_page(installed: Installed, up: str) -> None:
    # The page's address is printed as soon as the port is bound.
    poll(lambda: installed.sh(f"curl -sf {up}/ready").returncode == 0, "the page to be ready")
    assert "<title>" in installed.sh(f"curl -sf {up}/").stdout


@pytest.mark.timeout(600)
def test_the_base_install_runs_every_command_that_the_documentation_gives_for_it(installed: Installed, up: str) -> None:
    """A training job's image has the wheel without extras; troubleshooting starts there."""
    told = {
        words[1] for line in lines() for words in line.commands() if words[0] in ("hud", "rl-hud") and len(words) > 1
    }
    asking = told - {"up", "serve", "demo", "alert"}  # `hud alert test` runs where the server does
    assert {"doctor", "status", "sessions", "export", "reset"} <= asking
    job = "python3 -m venv ~/job && ~/job/bin/pip install --quiet dist/rl_hud-*.whl"
    done = installed.sh(job.replace("python3", sys.executable))
    assert done.returncode == 0, done.stderr
    unwanted = installed.sh("~/job/bin/pip list")
    assert not re.search(r"^(starlette|uvicorn|ray|torch|numpy) ", unwanted.stdout, re.M)

    publish = (
        "from hud_publisher import Publisher as P; hud = P(name='job'); hud.log({'x': 1}); hud.close(release=False)"
    )
    assert installed.sh(f'HUD_URL={up} ~/job/bin/python -c "{publish}"').returncode == 0
    for command in sorted(asking, key=lambda command: command == "reset"):
        done = installed.sh(f"HUD_URL={up} ~/job/bin/hud {command}")
        assert (done.returncode, bool(done.stdout)) == (0, True), (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    told_by = {name: installed.sh(f"~/job/bin/{name} --help").stdout for name in ("hud", "rl-hud")}
    assert told_by["hud"]
    assert told_by["rl-hud"].replace("rl-hud", "hud") == told_by["hud"].replace("rl-hud", "hud")
