"""Any result of `render()`: the picture in it is found, or the reason names the result's type."""

from __future__ import annotations

import io
from collections import UserDict, deque, namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hud_publisher.intake.copying import copy_pixels
from hud_publisher.intake.picture import picture_of, pictures_of
from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.sender.encoder import Encoder

H, W = 10, 14
DEPTH = np.ones((H, W), np.float32)
Views = namedtuple("Views", "depth picture")


def shade(number: int) -> Any:
    return np.full((H, W, 3), number, np.uint8)


class ArrayLike:
    """A value of a library that numpy can read, and nothing more."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return shade(7)


class ReadOnly(ArrayLike):
    """The same with a shape and no `copy`, as TensorFlow's."""

    shape = (H, W, 3)


def objects(*pictures: Any) -> Any:
    array = np.empty(len(pictures), object)
    array[:] = pictures
    return array


FORMS = {
    "rgb": shade(7),
    "rgba": np.dstack([shade(7), DEPTH.astype(np.uint8)]),
    "grey": shade(7)[:, :, 0],
    "one channel": shade(7)[:, :, :1],
    "channels first": shade(7).transpose(2, 0, 1),
    "rgb_array_list": [shade(5), shade(6), shade(7)],
    "a deque of frames": deque([shade(5), shade(7)], maxlen=2),
    "rgbd_tuple": (shade(7), DEPTH),
    "depth and picture": (DEPTH, shade(7)),
    "a list of picture and depth": [shade(7), DEPTH],
    "a named tuple": Views(DEPTH, shade(7)),
    "a list of tuples": [(shade(6), DEPTH), (shade(7), DEPTH)],
    "a mapping with depth": {"depth": DEPTH, "rgb": shade(7)},
    "a mapping of cameras": {"depth": DEPTH, "front": shade(7)},
    "a mapping of agents": UserDict({"agent_0": shade(7), "agent_1": shade(9)}),
    "a batch": np.stack([shade(7), shade(8)]),
    "a batch of one": shade(7)[None],
    "a batch of batches": np.stack([shade(7), shade(8)])[None],
    "a batch, channels first": np.stack([shade(7), shade(8)]).transpose(0, 3, 1, 2),
    "a batch of grey": np.stack([shade(n)[:, :, 0] for n in (7, 8, 9, 10, 11)]),
    "an array of pictures": objects(shade(6), shade(7)),
    "one picture in an array": np.array(objects(shade(7), None)[:1]).reshape(()),
    "objects as pixels": shade(7).astype(object),
    "nested lists": shade(7).tolist(),
    "nested tuples": tuple(tuple(tuple(pixel) for pixel in row) for row in shade(7).tolist()),
    "a PIL image": Image.fromarray(shade(7)),
    "a PIL image with transparency": Image.fromarray(shade(7)).convert("RGBA"),
    "a PIL image of 16 bits": Image.fromarray(np.full((H, W), 7 * 257, np.uint16)),
    "a PIL image of whole numbers": Image.fromarray(np.full((H, W), 7, np.int32)),
    "a PIL image of floats": Image.fromarray(np.full((H, W), 7 / 255, np.float32)),
    "a PIL image with its alpha multiplied in": Image.fromarray(shade(7)).convert("L").convert("LA").convert("La"),
    "a view of memory": memoryview(shade(7)),
    "a list of PIL images": [Image.fromarray(shade(6)), Image.fromarray(shade(7))],
    "by __array__ alone": ArrayLike(),
    "without copy()": ReadOnly(),
    "in a gap of memory": np.repeat(shade(7), 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_picture_in_any_form_is_found_and_copied_and_encoded(form: str) -> None:
    shot = FORMS[form]
    encoded, _mime = Encoder(image_format="auto").encode(copy_pixels(shot))
    decoded = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    assert decoded.shape == (H, W, 3)
    assert abs(decoded - 7).max() <= 2


NO_PICTURES: dict[str, tuple[Any, str]] = {
    "None": (None, "None"),
    "text": ("a line", "text"),
    "an empty list": ([], "an empty list"),
    "an empty tuple": ((), "an empty tuple"),
    "an empty mapping": ({}, "an empty dict"),
    "a list of None": ([None], "None"),
    "a number": (3.5, "type float"),
    "a vector": (np.zeros(7), r"shape \(7,\) of float64"),
    "no pixels": (np.zeros((0, 4, 3)), r"shape \(0, 4, 3\)"),
    "two channels": (np.zeros((5, 5, 2)), r"shape \(5, 5, 2\)"),
    "complex numbers": (np.zeros((4, 4), complex), "complex128"),
    "an array of texts": (np.array([["a", "b"]]), "of <U1"),
    "an object": (object(), "type object"),
    "a list of objects": ([object()], "type object"),
    "a ragged list": ([[1, 2], [3]], "type list"),
    "a list that holds itself": ("cycle", "type list"),
}


@pytest.mark.parametrize("form", NO_PICTURES)
def test_the_reason_names_the_value_found_instead_of_a_picture(form: str) -> None:
    shot, reason = NO_PICTURES[form]
    if isinstance(shot, str) and shot == "cycle":
        shot = []
        shot.append(shot)
    with pytest.raises(UnsupportedImageError, match=f"^expected a picture, got .*{reason}"):
        picture_of(shot)


def shades(found: dict[int, Any]) -> dict[int, int]:
    return {at: int(np.asarray(picture).max()) for at, picture in found.items()}


@pytest.mark.parametrize(
    ("shot", "found"),
    [
        (np.stack([shade(5), shade(6)]), {0: 5, 1: 6}),
        ((shade(5), shade(6)), {0: 5, 1: 6}),
        ([shade(5), shade(6)], {0: 5, 1: 6}),
        (objects(shade(5), shade(6)), {0: 5, 1: 6}),
        ((None, shade(6)), {1: 6}),
        (([shade(4), shade(5)], [shade(6)]), {0: 5, 1: 6}),
        (((shade(5), DEPTH), (shade(6), DEPTH)), {0: 5, 1: 6}),
        ((np.stack([shade(5), shade(6)]), np.stack([DEPTH, DEPTH])), {0: 5, 1: 6}),
        ({"rgb": np.stack([shade(5), shade(6)]), "depth": np.stack([DEPTH, DEPTH])}, {0: 5, 1: 6}),
        ({"env_0": shade(5), "env_1": shade(6)}, {0: 5, 1: 6}),
        (np.stack([shade(5)[:, :, 0], shade(6)[:, :, 0]]), {0: 5, 1: 6}),
        (shade(6), {1: 6}),
    ],
    ids=[
        "one array", "a tuple", "a list", "an array of pictures", "one without", "lists of frames",
        "pictures and depths", "batches of both", "a mapping of batches", "a mapping by env", "grey", "one of all",
    ],
)  # fmt: skip
def test_each_environment_of_a_vector_gets_its_picture(shot: Any, found: dict[int, int]) -> None:
    assert shades(pictures_of(shot, 2, 1)) == found


@pytest.mark.parametrize("shot", [None, (), (shade(1), None), "text", np.zeros(2)])
def test_a_vector_without_a_picture_of_the_wanted_environment_says_so(shot: Any) -> None:
    with pytest.raises(UnsupportedImageError):
        pictures_of(shot, 2, 1)


def test_a_foreign_array_that_raises_is_a_reason_not_an_error() -> None:
    class Torn:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise MemoryError("torn")

    with pytest.raises(UnsupportedImageError, match="Torn: torn"):
        picture_of(Torn())


def test_the_choice_copies_nothing() -> None:
    picture = shade(7)
    assert picture_of([shade(6), picture]) is picture
    assert picture_of(SimpleNamespace(shape=(4, 4))).shape == (4, 4)
