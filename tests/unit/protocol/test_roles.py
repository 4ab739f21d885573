"""A user's choice of roles: the accepted values and the error messages."""

from __future__ import annotations

import json

import pytest

from hud_publisher import ConfigError, Publisher
from hud_publisher.protocol import scripts
from hud_publisher.protocol.entries import Limits
from hud_publisher.protocol.roles import ROLES, read_roles


def test_a_choice_goes_into_the_registration() -> None:
    assert read_roles(None) == {}
    chosen = read_roles({"return": "my/score", "length": "steps"})
    call = scripts.register("default", run_id="r", name="n", limits=Limits(), roles=chosen)
    assert json.loads(str(call.args[11])) == {"return": "my/score", "length": "steps"}


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"retrun": "x"}, r"'retrun' is no role \(did you mean 'return'\?\): choose among return, "),
        ({"return": 3}, "expected the path of a field for 'return', got int"),
        ({"return": ""}, "expected the path of a field"),
        ({"return": "x", "length": "x"}, "'x' was given for two roles"),
        ([("return", "x")], "expected roles as a mapping"),
        ({7: "x"}, "'7' is no role"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused_at_the_start(roles: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Publisher(roles=roles)  # type: ignore[arg-type]


def test_every_role_can_be_chosen() -> None:
    assert list(read_roles({role: f"my/{role}" for role in ROLES})) == list(ROLES)
