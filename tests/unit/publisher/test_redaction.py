"""Secrets of every known form disappear; text that is no secret stays as it was."""

from __future__ import annotations

import base64
import json
import random
import secrets
import string
import time

import pytest

from hud_publisher.protocol.settings import Settings
from hud_publisher.redaction import HIDDEN, MAX_CHARS, Redactor, is_secret_name, redactor_of

PLANTED = "Sw0rdf1sh-in-the-Sea"
ENVIRONMENT = {
    "HUD_TOKEN": "first-hud-token,second-hud-token", "MY_SERVICE_PASSWORD": PLANTED, "OPENAI_KEY": "plainword-key",
    "DATABASE_URL": "postgres://app:p%40ss-word@db.example:5432/runs", "HOME": "/home/anna", "LANG": "en_US.UTF-8",
    "AUTH_TYPE": "basic", "DEBUG_TOKEN": "1", "PRIVATE_KEY": "line one of the key\nline two of the key",
    "MODEL_KEY": "short", "RAY_ADDRESS": "10.0.0.7:6379", "PWD": "/srv/robots", "OLDPWD": "/srv/robots/maze",
    "SSH_AUTH": "/tmp",
}  # fmt: skip
redactor = Redactor(["run-id-of-this-run"], ENVIRONMENT)

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx7\nq0b==\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

#: A text, and the secret in it.
SECRETS = [
    (f"login failed for {PLANTED}", PLANTED),
    ("refused: second-hud-token", "second-hud-token"),
    ("joined run-id-of-this-run", "run-id-of-this-run"),
    ("used plainword-key for it", "plainword-key"),
    ("could not connect with p@ss-word", "p@ss-word"),
    ("could not connect with p%40ss-word", "p%40ss-word"),
    ("the line two of the key was read", "line two of the key"),
    (json.dumps({"note": PLANTED}), PLANTED),
    ("redis://:hunter2@cache:6379/0", "hunter2"),
    ("rediss://user:pa/ss?w#rd@cache:6379/0 is away", "pa/ss?w#rd"),
    ("redis+sentinel://u:pw1234@a:26379,b:26379/main", "pw1234"),
    ("git clone https://x-token-8899@github.com/a/b", "x-token-8899"),
    ("GET https://api.example/v1?user=a&access_token=abc123def&page=2", "abc123def"),
    ("https://blob.example/c?sv=2020&sig=ab%2Fcd%3D99", "ab%2Fcd"),
    ("https://s3.example/k?X-Amz-Signature=0a1b2c3d4e5f", "0a1b2c3d4e5f"),
    ("password=hunter2", "hunter2"),
    ("Password: swordfish", "swordfish"),
    ("connect(host='a', password='correct horse battery')", "correct horse battery"),
    ("connect(host='a', password=\"it's me\")", "it's me"),
    ("{'api_key': 'abcdefgh', 'n': 3}", "abcdefgh"),
    ('{"apiKey":"abcdefgh"}', "abcdefgh"),
    ('"{\\"apiKey\\": \\"abcdefgh\\"}"', "abcdefgh"),
    ("config.env.db_password => qwerty12", "qwerty12"),
    ("TOKEN=abcdefgh python train.py", "abcdefgh"),
    ("export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "bPxRfiCY"),
    ("train.py --token abcdefgh --lr 0.1", "abcdefgh"),
    ("train.py --api-key=abcdefgh --lr 0.1", "abcdefgh"),
    ("train.py --wandb-key 'abcdefgh9'", "abcdefgh9"),
    ("API key: qwertyuiop1", "qwertyuiop1"),
    ("invalid password 'tr0ub4dor'", "tr0ub4dor"),
    ("Authorization: Bearer abcdefghijkl", "abcdefghijkl"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("{'Authorization': 'Token abcdef'}", "abcdef"),
    ("Cookie: sid=abc; theme=dark", "sid=abc"),
    ("Set-Cookie: session=xyz; HttpOnly", "session=xyz"),
    ("used bearer abc123def456", "abc123def456"),
    ("x-api-key: abcdefgh", "abcdefgh"),
    (f"token was {JWT}", JWT[40:70]),
    (f"key:\n{PEM}\nrest", "MIIEowIBAAKCAQEAx7"),
    (repr(PEM), "MIIEowIBAAKCAQEAx7"),
    (PEM[:60], "MIIEowIBAAKCAQEAx7"),
    ("AKIAIOSFODNN7EXAMPLE is wrong", "AKIAIOSFODNN7EXAMPLE"),
    ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "K7MDENG"),
    ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"),
    ("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz", "abcdefghijkl"),
    ("glpat-abcdefghij0123456789", "abcdefghij"),
    ("xoxb-123456789012-abcdefghijkl", "abcdefghijkl"),
    ("https://hooks.slack.com/services/T0000/B0000/abcdefgh", "abcdefgh"),
    ("https://discord.com/api/webhooks/123/abcdefgh-ijk", "abcdefgh"),
    ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "abcdefghijklmnop"),
    ("sk-ant-api03-abcdefghijklmnop", "abcdefghijklmnop"),
    ("hf_abcdefghijklmnopqrstuvwxyz", "abcdefghijkl"),
    ("AIzaSyA-abcdefghijklmnopqrstuvwxyz01234", "abcdefghijkl"),
    ("sk_live_abcdefghijkl", "abcdefghijkl"),
    ("123456789:AAEhBP0av28FrmYTxv-gz6cMJAE1uVnpM-Y", "AAEhBP0av28"),
    ("digest of 9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d65"),
    ("0x9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d65"),
]  # fmt: skip

INNOCENT = [
    "/srv/robots/maze/train.py:12 in step",
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 7.79 GiB total capacity)",
    "/home/anna/projects/zelda/envs/zelda_env.py:417 in step: obs = self._emulator.tick(self.frames_per_action)",
    "/tmp/ray/session_2026-12-01_01-31-08_123456_789/logs/worker-01000000-ffffffff-4211.out",
    "PPO_CartPole-v1_8b0c1_00000_0_lr=0.0003,gamma=0.99_2026-12-01_01-31-08",
    "commit f5508b5d0a6c1d5c9f3d7f6c2a1b0e9d8c7b6a55 (dirty)",
    "sha256:9f86d081884c7d659a2feaa0c55ad0159f86d081884c7d659a2feaa0c55ad015",
    "actor_id: 3f9a1c7e2b4d6f8091a2b3c4d5e6f708, pid: 4211, ip: 10.0.0.7",
    "written to /tmp/run",
    "The actor 1c08382a6d7909e6ab0c614601000000 is unavailable: RpcError",
    "GPU-550e8400-e29b-41d4-a716-446655440000",
    "ValueError: expected a token of at least 3 letters, got 'ab'",
    "tokenizer.pad_token=<pad> max_tokens=2048 eos_token_id=2 tokens_per_s=1234.5",
    "SyntaxError: unexpected token: comma",
    "KeyError: 'password'",
    "TypeError: login() missing 1 required positional argument: 'password'",
    "password: None, api_key=None, token=True",
    "SingleAgentEnvRunner.sample() failed in MultiAgentEnvRunnerGroup.foreach_env_runner",
    "DefaultPPOTorchRLModule(observation_space=Box(0, 255, (64, 64, 3), uint8), inference_only=True)",
    "ale_py.roms.ALE/MontezumaRevenge-ram-deterministic-v4",
    "https://docs.ray.io/en/latest/rllib/index.html#rllib-index",
    "https://example.org:8086/path?step=140000&channel=default",
    "git@github.com:org/project.git ssh://git@github.com/org/project",
    "assert 0.30000000000000004 == 0.3, mean=-1.7976931348623157e+308",
    "the author's keyboard and a monkey, secretly",
    "events.out.tfevents.1733016668.gpu-node-017.4211.0.v2",
    "Basic understanding of bearer authentication fails",
    "num_env_runners=4 train_batch_size_per_learner=4000 rollout_fragment_length=auto",
    "python -m examples.train --env ALE/Pong-v5 --seed 42 --lr 3e-4 --wandb-key-file keys.txt",
    "info_keys=('health', 'location') metric_key=env_runners/episode_return_mean",
    "ray::SingleAgentEnvRunner.apply() (pid=4211, ip=10.0.0.7, actor_id=3f9a1c7e2b4d6f8091a2b3c401000000, repr=<x>)",
]  # fmt: skip


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_a_secret_is_hidden(text: str, secret: str) -> None:
    shown = redactor.text(text)
    assert secret not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize("text", INNOCENT)
def test_text_without_a_secret_stays(text: str) -> None:
    assert redactor.text(text) == text


def test_random_strings_are_hidden_and_names_of_files_are_not() -> None:
    draw = random.Random(7)
    letters = string.ascii_letters + string.digits
    made = ["".join(draw.choices(letters, k=length)) for length in (32, 40, 43, 64) for _ in range(250)]
    made += [base64.b64encode(draw.randbytes(30)).decode() for _ in range(250)]
    kept = [one for one in made if redactor.text(f"got {one} from it") != f"got {HIDDEN} from it"]
    assert len(kept) <= len(made) * 0.03, kept[:20]
    hexes = [draw.randbytes(size).hex() for size in (16, 24, 32) for _ in range(200)]
    assert not [one for one in hexes if one in redactor.text(f"got {one}")]


def test_the_rest_of_the_text_stays() -> None:
    assert (
        redactor.text("connect(host='a', password='x y', port=1)") == f"connect(host='a', password='{HIDDEN}', port=1)"
    )
    assert redactor.text("redis://u:p@h:1/0 refused") == f"redis://{HIDDEN}@h:1/0 refused"
    assert redactor.text("train.py --token abc --lr 0.1") == f"train.py --token {HIDDEN} --lr 0.1"
    assert redactor.text(f"a {PLANTED} b") == f"a {HIDDEN} b"


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASS", "apiKey", "X-Api-Key", "hud_token", "--hud-token", "OPENAI_API_KEY", "secretAccessKey",
     "authorization", "cookies", "sentry_dsn", "privateKey", "AWS_CREDENTIALS", "session_id", "webhook_url"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "tokenizer", "pad_token_id", "num_tokens", "author", "keyboard", "info_keys", "passes", "compass",
     "observation_space", "lambda_", "grad_clip", "tokens_per_s", "seed", "env_config"],
)  # fmt: skip
def test_names_of_other_fields(name: str) -> None:
    assert not is_secret_name(name)


def test_a_tree_keeps_its_form() -> None:
    tree = {
        "lr": 0.1, "model": {"layers": [64, 64], "max_tokens": 5}, "api_key": "abc", "auth": {"user": "u"},
        "url": "redis://:pw@h/0", "password": None, "pin_token": 3, "password2": 12345, "hosts": ("a", f"b {PLANTED}"),
        "wandb_key": "0a1b2c3d4e5f60718293", "sort_key": "episode_return_mean", 7: "x",
    }  # fmt: skip
    assert redactor.tree(tree) == {
        "lr": 0.1, "model": {"layers": [64, 64], "max_tokens": 5}, "api_key": HIDDEN, "auth": HIDDEN,
        "url": f"redis://{HIDDEN}@h/0", "password": None, "pin_token": 3, "password2": HIDDEN,
        "hosts": ["a", f"b {HIDDEN}"], "wandb_key": HIDDEN, "sort_key": "episode_return_mean", 7: "x",
    }  # fmt: skip


def test_a_tree_that_contains_itself_ends() -> None:
    tree: dict[str, object] = {}
    tree["again"] = tree
    assert HIDDEN in str(redactor.tree(tree))


def test_a_command_line() -> None:
    argv = ["train.py", "--token", "abc def", "--lr", "0.1", "-v", "--url=redis://:pw@h/0", "note=two words", PLANTED]
    shown = redactor.command(argv)
    assert shown == (f"train.py --token {HIDDEN} --lr 0.1 -v --url=redis://{HIDDEN}@h/0 'note=two words' {HIDDEN}")


def test_a_secret_at_the_end_of_a_text_that_is_cut_is_hidden() -> None:
    for shift in range(-len(PLANTED), 3):
        text = "x " * ((MAX_CHARS + shift) // 2) + "y" * ((MAX_CHARS + shift) % 2) + PLANTED + " and more" * 9000
        assert PLANTED[:5] not in redactor.text(text)


def test_hostile_texts_take_linear_time() -> None:
    parts = [
        "a=", "a://", "token:", "token=1=", "-----BEGIN PRIVATE KEY-----", "eyJ-", "a'", 'a="', "\\", "sk-", "A1b", "/",
        "Bearer ", "a:b@", "password ", "0x", 'token\\"', "Cookie:",
    ]  # fmt: skip
    for part in parts:
        began = time.process_time()
        redactor.text(part * (MAX_CHARS // len(part)))
        assert time.process_time() - began < 1.0, part


def test_it_knows_the_settings_of_the_publisher() -> None:
    settings = Settings.from_env({}, redis_url="redis://:sesame1@h:6379/0", run_id="my-own-run", token="letmein1")
    shown = redactor_of(settings).text("sesame1 my-own-run letmein1 end")
    assert shown == f"{HIDDEN} {HIDDEN} {HIDDEN} end"


def test_odd_objects_and_sizes() -> None:
    assert redactor.text("x" * 100, most=10) == "x" * 9 + "…"
    assert redactor.text("") == ""
    assert redactor.text(secrets.token_hex(40)) == HIDDEN
    assert Redactor([None, "", "a"], {}).text("a b") == "a b"
