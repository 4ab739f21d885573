"""Real torch tensors, which the unit tests do without: torch comes with RLlib."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hud_publisher.intake.copying import copy_fields, copy_pixels
from hud_publisher.protocol.cleaning import clean_metrics
from hud_publisher.sender import encoder
from hud_publisher.sender.encoder import Encoder
from tests.unit.protocol.test_histogram import shown
from tests.unit.publisher.test_encoder import RED, decode
from tests.unit.publisher.test_mind import composed, pixels_of


def test_tensors_are_shown_as_the_numbers_they_hold() -> None:
    named: list[str] = []
    data = {
        "one": torch.tensor(1.5),
        "with gradient": torch.tensor([1.5], requires_grad=True),
        "few": torch.tensor([1, 2]),
        "nan": torch.tensor(math.nan),
        "many": torch.zeros(2000),
    }
    shown = clean_metrics(data, lambda name, _value: named.append(name))
    assert shown == {"one": 1.5, "with gradient": 1.5, "few": [1, 2]}
    assert named == ["many"]


def test_a_tensor_of_many_numbers_becomes_a_histogram() -> None:
    for tensor in (torch.ones(100), torch.nn.Linear(200, 200).weight, torch.ones(64, dtype=torch.bfloat16)):
        about = shown(tensor)
        assert about["n"] == tensor.numel()
        assert sum(about["counts"]) > 0


def test_tensors_that_change_in_place_keep_the_values_they_had() -> None:
    loss, weights = torch.tensor(1.5, requires_grad=True), torch.tensor([1.0, 2.0])
    pixels = torch.zeros(3, 4, 4)
    copied, _weight = copy_fields({"loss": loss, "weights": weights, "many": torch.zeros(5000)})
    picture = copy_pixels(pixels)
    with torch.no_grad():
        for tensor in (loss, weights, pixels):
            tensor.fill_(9.0)
    assert clean_metrics(copied) == {"loss": 1.5, "weights": [1.0, 2.0]}
    assert picture.max() == 0


@pytest.mark.parametrize("has_simplejpeg", [True, False])
def test_a_red_tensor_of_any_form_is_red(has_simplejpeg: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "HAS_SIMPLEJPEG", has_simplejpeg)
    floats = torch.from_numpy(RED.astype(np.float32) / 255).permute(2, 0, 1).requires_grad_()
    for pixels in (torch.from_numpy(RED), floats, floats.bfloat16(), floats.half()):
        encoded, mime = Encoder().encode(pixels)
        red, green, blue = decode(encoded).reshape(-1, 3).mean(axis=0)
        assert mime == "image/jpeg"
        assert red > 240
        assert green < 16
        assert blue < 16


def test_a_view_of_the_policy_reads_tensors_without_their_gradients_and_in_any_type() -> None:
    policy = torch.tensor([0.25, 0.75], requires_grad=True)
    entry = composed(probabilities=policy, observation=torch.ones(3, 12, 12, dtype=torch.bfloat16), value=policy[0])
    assert entry.data["probabilities"] == [0.25, 0.75]
    assert entry.data["value"] == 0.25
    assert (pixels_of(entry) == 255).all()
