"""Turns pixels into a JPEG or WebP picture. Runs in the sender thread.

Takes the arrays, tensors and PIL images that `picture.picture_of` finds. Refuses everything else with
UnsupportedImageError. simplejpeg encodes if it is installed, else Pillow, which takes twice the time. numpy is loaded
with the first array.

Floats run from 0 to 1, or from 0 to 255: the numbers alone do not say which. A sequence (the frames of one environment)
has one scale: from 0 to 1 until its first value above 1.5, and from 0 to 255 from then on.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Hashable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from hud_publisher.intake.items import CHANNELS
from hud_publisher.protocol.errors import UnsupportedImageError

if TYPE_CHECKING:
    from hud_publisher.protocol.images import Mime

#: It imports numpy, so it is loaded with the first array.
HAS_SIMPLEJPEG = find_spec("simplejpeg") is not None

Format = Literal["jpeg", "auto"]
#: Values of networks that generate pictures overshoot 1 a little. A float above this limit belongs to a picture with
#: values up to 255.
_UNIT = 1.5
#: Sequences whose scale is remembered: one for each environment that the intake has a slot for.
_MAX_SEQUENCES = 256
#: Pixel art has few colours: a Game Boy shows 4 to 56, an Atari up to 128. With more, JPEG is always smaller.
_FEW_COLOURS = 256
#: Pixels above which a search for the smaller form would take more than a few milliseconds.
_AUTO_PIXELS = 640 * 480
#: Pixels up to which a search five times as thorough takes 1 to 2 ms: a frame of Breakout falls from 950 to 194 bytes.
_THOROUGH_PIXELS = 256 * 256
#: Pixels up to which Pillow may keep the interpreter lock, for 0.2 ms: Atari has 33,600 pixels, a Game Boy 23,040.
_HELD_PIXELS = 40_000


def prepare() -> None:
    """Load the codecs, which takes 7 ms, before training begins."""
    Image.preinit()
    for plugin in ("ImageOps", "WebPImagePlugin", "features"):  # without it the first WebP picture loads all plugins
        importlib.import_module(f"PIL.{plugin}")
    if HAS_SIMPLEJPEG and "numpy" in sys.modules:
        import simplejpeg  # noqa: F401


class Encoder:
    """Encodes one picture after another with the same settings."""

    def __init__(
        self,
        *,
        quality: int = 75,
        image_format: Format = "jpeg",
        max_side: int | None = None,
        gil_released: Callable[[], None] = lambda: None,
    ) -> None:
        """Make an encoder.

        Args:
            quality: of JPEG, from 1 to 95.
            image_format: JPEG, or the smaller of JPEG and lossless WebP.
            max_side: scale down so that no side is longer, in pixels.
            gil_released: called after a codec has worked without the interpreter lock.
        """
        self._quality, self._format, self._max_side = quality, image_format, max_side
        self._gil_released = gil_released
        #: Sequences that had a float above _UNIT.
        self._wide: set[Hashable] = set()

    def encode(
        self, pixels: Any, *, max_side: int | None = None, is_exact: bool = False, sequence: Hashable = None
    ) -> tuple[bytes, Mime]:
        """Return the encoded picture and its media type.

        Args:
            pixels: an array, a tensor or a PIL image.
            max_side: scale down so that no side is longer, in pixels; instead of the encoder's own.
            is_exact: prefer lossless if that costs little, in any format (for the picture that a model was shown).
            sequence: pictures of one sequence share the scale of their floats; None: a single picture.

        Raises:
            UnsupportedImageError: no picture can be made of it.
        """
        try:
            return self._encode(pixels, max_side or self._max_side, is_exact, sequence)
        except (OSError, ValueError, TypeError, RuntimeError) as error:  # numpy, torch and the codecs raise these
            raise UnsupportedImageError(f"the pixels cannot be encoded: {error}") from error

    def _encode(self, pixels: Any, limit: int | None, is_exact: bool, sequence: Hashable) -> tuple[bytes, Mime]:
        quality = max(self._quality, 90) if is_exact else self._quality
        is_auto = self._format == "auto" or is_exact
        if isinstance(pixels, Image.Image) and pixels.mode not in ("I", "F"):
            image = pixels if pixels.mode in ("RGB", "L") else flat(pixels)
        else:  # Pillow's 32-bit numbers have the range of an array's
            array = to_array(pixels, lambda highest: self._is_wide(highest, sequence))
            if HAS_SIMPLEJPEG and not is_auto and (not limit or max(array.shape[:2]) <= limit):
                encoded = _fast_jpeg(array, quality)
                self._gil_released()
                return encoded, "image/jpeg"
            image = Image.fromarray(array)
        if limit and max(image.size) > limit:
            scale = limit / max(image.size)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            image = image.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
        if is_auto and image.width * image.height <= _AUTO_PIXELS:
            return self._smallest(image, quality)
        return self._jpeg(image, quality), "image/jpeg"

    def _is_wide(self, highest: float, sequence: Hashable) -> bool:
        """Whether a picture of floats is one with values up to 255."""
        if sequence is None or (highest > _UNIT and len(self._wide) >= _MAX_SEQUENCES):
            return highest > _UNIT
        if highest > _UNIT:
            self._wide.add(sequence)
        return sequence in self._wide

    def _jpeg(self, image: Image.Image, quality: int) -> bytes:
        # Pillow keeps the interpreter lock while it encodes into memory, 12 ms for a full-HD picture, but not while it
        # encodes into a file. A file takes ten system calls, each of which releases the lock.
        if image.width * image.height > _HELD_PIXELS:
            try:
                file = open(os.memfd_create("hud-jpeg"), "r+b", buffering=0)  # type: ignore[attr-defined,unused-ignore]  # noqa: SIM115
            except (AttributeError, OSError):  # only Linux has files in memory
                pass
            else:
                with file:
                    image.save(file, "JPEG", quality=quality)
                    file.seek(0)
                    encoded = file.read()
                self._gil_released()
                return encoded
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    def _smallest(self, image: Image.Image, quality: int) -> tuple[bytes, Mime]:
        """Return a JPEG, or a lossless WebP if that is smaller, as in games with few colours."""
        jpeg = self._jpeg(image, quality)
        if image.getcolors(_FEW_COLOURS) is None:
            return jpeg, "image/jpeg"
        is_small = image.width * image.height <= _THOROUGH_PIXELS
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=True, quality=20 if is_small else 0, method=1 if is_small else 0)
        self._gil_released()
        webp = buffer.getvalue()
        return (webp, "image/webp") if len(webp) < len(jpeg) else (jpeg, "image/jpeg")


def flat(image: Image.Image) -> Image.Image:
    """Return it with eight bits per channel, transparent pixels on white."""
    if image.mode in ("RGB", "L"):
        return image.copy()
    if image.mode.startswith(("I", "F")):
        wide = image.convert("F")
        low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else wide.getextrema()
        scale = 255.0 / ((high - low) or 1.0)  # type: ignore[operator]
        return wide.point(lambda value: value * scale + -low * scale).convert("L")  # type: ignore[operator]
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        above = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(white, above).convert("RGB")
    return image.convert("RGB")


def to_array(pixels: Any, is_wide: Callable[[float], bool] = lambda highest: highest > _UNIT) -> Any:
    """Return a contiguous uint8 array of shape (H, W) or (H, W, 3).

    Args:
        pixels: an array or a tensor.
        is_wide: whether floats with this highest value run up to 255.

    Raises:
        UnsupportedImageError: its shape is not that of a picture.
    """
    import numpy as np

    array = _load_picture(pixels)
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0)
        scale = 1.0 if is_wide(float(array.max())) else 255.0
        array = np.clip(array * scale + 0.5, 0, 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        array = np.clip(array, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def load_array(values: Any) -> Any:
    """Return an array, a tensor, or an array that was copied for the sender, as a numpy array."""
    import numpy as np

    if isinstance(values, tuple) and len(values) == 3 and isinstance(values[0], bytes):  # copying.RawPixels
        data, shape, dtype = values
        return np.frombuffer(data, dtype).reshape(shape)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # numpy has no bfloat16
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    array = np.asarray(values)
    if array.dtype.name.startswith(("bfloat16", "float8")):  # JAX's, which numpy takes for structures
        array = array.astype(np.float32)
    return array


def _load_picture(pixels: Any) -> Any:
    """Return a numpy array of shape (H, W) or (H, W, 3), of numbers of any type."""
    array = load_array(pixels)
    if array.dtype == "uint8" and array.ndim == 3 and array.shape[2] == 3 and array.size:  # as environments render
        return array
    if array.ndim == 3 and array.shape[2] not in CHANNELS and array.shape[0] in CHANNELS:
        array = array.transpose(1, 2, 0)
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS)
    if not is_picture or not array.size or array.dtype.kind not in "buif":
        raise UnsupportedImageError(
            f"expected pixels of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got shape {array.shape} of "
            f"{array.dtype}: pass the result of env.render() with render_mode='rgb_array'"
        )
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3]
    return array


def _fast_jpeg(array: Any, quality: int) -> bytes:
    import simplejpeg

    grey = array.ndim == 2
    encoded: bytes = simplejpeg.encode_jpeg(
        array[:, :, None] if grey else array,
        quality=quality,
        colorspace="GRAY" if grey else "RGB",
        colorsubsampling="Gray" if grey else "420",
    )
    return encoded
