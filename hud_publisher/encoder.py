"""Turns pixels into a JPEG, PNG or WebP picture. Runs in the publisher's thread.

Takes (H, W, 3), (H, W, 4), (H, W, 1) and (H, W) arrays of uint8, other whole numbers, bools or floats (0 to 1), tensors
of the same shapes or with the channels first, and PIL images. Refuses anything else with UnsupportedImageError. Pillow
encodes, or simplejpeg where it is installed (half the time). numpy is loaded only once somebody hands over an array.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Literal

from PIL import Image

from hud_publisher.protocol.errors import UnsupportedImageError
from hud_publisher.protocol.images import Mime

#: It brings numpy, so it is loaded with the first array only.
HAS_SIMPLEJPEG = find_spec("simplejpeg") is not None

Format = Literal["jpeg", "auto"]
#: Pixel art has few colours: a Game Boy shows 4 to 56, an Atari up to 128. With more, lossless is never the smaller.
_FEW_COLOURS = 256
#: Above this a search for the smaller form would take more than a few milliseconds.
_AUTO_PIXELS = 640 * 480
#: Up to this, a search five times as thorough takes 1 to 2 ms: a frame of Breakout falls from 950 to 194 bytes.
_THOROUGH_PIXELS = 256 * 256
#: Up to this, 0.2 ms, Pillow may keep the interpreter lock: an Atari's picture has 33,600 pixels, a Game Boy's 23,040.
_HELD_PIXELS = 40_000


def prepare() -> None:
    """Load what the first picture would load, 7 ms long, while it does not matter."""
    Image.preinit()
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
        has_breathed: Callable[[], None] = lambda: None,
    ) -> None:
        """Make an encoder.

        Args:
            quality: of JPEG, from 1 to 95.
            image_format: JPEG, or whichever form is the smaller.
            max_side: scale down so that no side is longer, in pixels.
            has_breathed: called when a codec has worked without the interpreter lock.
        """
        self._quality, self._format, self._max_side = quality, image_format, max_side
        self._has_breathed = has_breathed

    def encode(self, pixels: Any, *, max_side: int | None = None, is_exact: bool = False) -> tuple[bytes, Mime]:
        """Return the encoded picture and its media type.

        Args:
            pixels: an array, a tensor or a PIL image.
            max_side: scale down so that no side is longer, in pixels; instead of the encoder's own.
            is_exact: prefer lossless where that costs little, whatever the format (what a model was shown).

        Raises:
            UnsupportedImageError: no picture can be made of it.
        """
        try:
            return self._encode(pixels, max_side or self._max_side, is_exact)
        except (OSError, ValueError, TypeError, RuntimeError) as error:  # what numpy, torch and the codecs raise
            raise UnsupportedImageError(f"expected pixels, got what cannot be encoded: {error}") from error

    def _encode(self, pixels: Any, limit: int | None, is_exact: bool) -> tuple[bytes, Mime]:
        quality = max(self._quality, 90) if is_exact else self._quality
        is_auto = self._format == "auto" or is_exact
        if isinstance(pixels, Image.Image):
            image = pixels if pixels.mode in ("RGB", "L") else pixels.convert("RGB")
        else:
            array = to_array(pixels)
            if HAS_SIMPLEJPEG and not is_auto and (not limit or max(array.shape[:2]) <= limit):
                encoded = _fast_jpeg(array, quality)
                self._has_breathed()
                return encoded, "image/jpeg"
            image = Image.fromarray(array)
        if limit and max(image.size) > limit:
            scale = limit / max(image.size)
            size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
            image = image.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
        if is_auto and image.width * image.height <= _AUTO_PIXELS:
            return self._smallest(image, quality)
        return self._jpeg(image, quality), "image/jpeg"

    def _jpeg(self, image: Image.Image, quality: int) -> bytes:
        # Pillow keeps the interpreter lock while it encodes into memory, 12 ms for a full-HD picture, but not into a
        # file; which takes ten calls of the kernel, each with a change of the lock's owner.
        if image.width * image.height > _HELD_PIXELS:
            try:
                file = open(os.memfd_create("hud-jpeg"), "r+b", buffering=0)  # type: ignore[attr-defined,unused-ignore]  # noqa: SIM115
            except (AttributeError, OSError):  # Linux has such files
                pass
            else:
                with file:
                    image.save(file, "JPEG", quality=quality)
                    file.seek(0)
                    encoded = file.read()
                self._has_breathed()
                return encoded
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return buffer.getvalue()

    def _smallest(self, image: Image.Image, quality: int) -> tuple[bytes, Mime]:
        """JPEG, or lossless WebP of pixel art where that is smaller, as it is for games of few colours."""
        jpeg = self._jpeg(image, quality)
        if image.getcolors(_FEW_COLOURS) is None:
            return jpeg, "image/jpeg"
        is_small = image.width * image.height <= _THOROUGH_PIXELS
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", lossless=True, quality=20 if is_small else 0, method=1 if is_small else 0)
        self._has_breathed()
        webp = buffer.getvalue()
        return (webp, "image/webp") if len(webp) < len(jpeg) else (jpeg, "image/jpeg")


def to_array(pixels: Any) -> Any:
    """A contiguous uint8 array of shape (H, W) or (H, W, 3)."""
    import numpy as np

    if isinstance(pixels, tuple):  # snapshot.RawPixels
        data, shape, dtype = pixels
        pixels = np.frombuffer(data, dtype).reshape(shape)
        if dtype == np.uint8 and len(shape) == 3 and shape[2] == 3 and pixels.size:  # what environments render
            return pixels
    elif hasattr(pixels, "detach"):
        pixels = pixels.detach().cpu()
        # numpy has no bfloat16
        pixels = (pixels.float() if str(pixels.dtype) == "torch.bfloat16" else pixels).numpy()
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not is_picture or not array.size or array.dtype.kind not in "buif":
        raise UnsupportedImageError(
            f"expected pixels of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got shape {array.shape} of "
            f"{array.dtype}: hand over what env.render() returns with render_mode='rgb_array'"
        )
    if array.ndim == 3:
        array = array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3]
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    elif array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0)
        scale = 255.0 if array.max(initial=0.0) <= 1.5 else 1.0  # networks overshoot 1 a little
        array = np.clip(array * scale + 0.5, 0, 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        array = np.clip(array, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(array)


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
