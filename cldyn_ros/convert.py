"""ROS image messages <-> arrays. What cannot be converted is refused with a ConversionError that says why.

The engine wants the visible image as (H, W, 3) uint8 RGB and the infrared image as (h, w) uint8, uint16 or float32.
"""

from __future__ import annotations

import array
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cldyn_ros.image_header import encoded_size

Array = NDArray[Any]

MAX_BYTES_PER_PIXEL = 16
"""Of max_pixels; larger messages are refused unseen. Twice the widest encoding, so that padded rows fit."""
_MAX_FRAME_ID = 256  # characters; it goes into every message that the node publishes
_SHOWN = 40  # characters of a sender's text in a reason, which goes into log and diagnostics


class ConversionError(ValueError):
    """A message that is not a usable image. The text names what is wrong with it."""


@dataclass(frozen=True)
class Encoding:
    """Memory layout of one encoding, and the OpenCV codes that lead to RGB and gray (None: it already is)."""

    dtype: type[np.generic]
    channels: int = 1
    to_rgb: int | None = None
    to_gray: int | None = None
    chroma: int = 0
    """Bytes for each two pixels in a plane after the image, in rows of the same step: nv12 and its kin."""


_RGB, _BGR = (cv2.COLOR_RGB2GRAY, cv2.COLOR_BGR2GRAY)
_MONO = cv2.COLOR_GRAY2RGB
_UYVY = Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY, cv2.COLOR_YUV2GRAY_UYVY)
_YUYV = Encoding(np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2, cv2.COLOR_YUV2GRAY_YUY2)

ENCODINGS: dict[str, Encoding] = {
    "mono8": Encoding(np.uint8, 1, _MONO),
    "8UC1": Encoding(np.uint8, 1, _MONO),
    "mono16": Encoding(np.uint16, 1, _MONO),
    "16UC1": Encoding(np.uint16, 1, _MONO),
    "32FC1": Encoding(np.float32, 1, _MONO),
    "rgb8": Encoding(np.uint8, 3, None, _RGB),
    "bgr8": Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB, _BGR),
    "8UC3": Encoding(np.uint8, 3, cv2.COLOR_BGR2RGB, _BGR),  # no order is said: OpenCV's, as cv_bridge takes it
    "rgba8": Encoding(np.uint8, 4, cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2GRAY),
    "bgra8": Encoding(np.uint8, 4, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2GRAY),
    # OpenCV names a Bayer pattern by its second row, ROS by its first.
    "bayer_rggb8": Encoding(np.uint8, 1, cv2.COLOR_BayerBG2RGB, cv2.COLOR_BayerBG2GRAY),
    "bayer_bggr8": Encoding(np.uint8, 1, cv2.COLOR_BayerRG2RGB, cv2.COLOR_BayerRG2GRAY),
    "bayer_gbrg8": Encoding(np.uint8, 1, cv2.COLOR_BayerGR2RGB, cv2.COLOR_BayerGR2GRAY),
    "bayer_grbg8": Encoding(np.uint8, 1, cv2.COLOR_BayerGB2RGB, cv2.COLOR_BayerGB2GRAY),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
}
"""Every encoding this module converts itself."""

ENCODINGS |= {  # rgb16, bgra16, bayer_rggb16 ...
    f"{name[:-1]}16": replace(encoding, dtype=np.uint16)
    for name, encoding in ENCODINGS.items()
    if name.endswith("8") and not name.startswith("mono")
}
ENCODINGS["16UC3"] = ENCODINGS["bgr16"]

ENCODINGS |= {  # luma, then a plane of chroma: a pair of bytes for 2x2 pixels, or in nv24 for every one
    "nv12": Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2GRAY_420, chroma=1),
    "nv21": Encoding(np.uint8, 1, cv2.COLOR_YUV2RGB_NV21, cv2.COLOR_YUV2GRAY_420, chroma=1),
    "nv24": Encoding(np.uint8, 1, chroma=4),
}


def to_visible(msg: Image | CompressedImage, max_pixels: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB. 16-bit images keep their upper byte; 32FC1 must lie in 0..1. Raises ConversionError."""
    data, encoding = _read(msg, max_pixels, fallback="rgb8")
    if data.dtype == np.uint16:
        data = (data >> 8).astype(np.uint8)
    elif data.dtype == np.float32:
        data = _finite(data)
        if data.min() < 0.0 or data.max() > 1.0:
            low, high = float(data.min()), float(data.max())
            raise ConversionError(f"a visible 32FC1 image must lie in 0..1, this one spans {low:g}..{high:g}")
        data = np.rint(data * 255.0).astype(np.uint8)
    return _color(data, encoding.to_rgb)


def to_infrared(msg: Image | CompressedImage, max_pixels: int) -> Array:
    """(h, w) uint8, uint16 or float32 as the sensor gave it. Raises ConversionError.

    Color becomes gray. A float image has at least one finite value; the others stay as they are.
    """
    data, encoding = _read(msg, max_pixels, fallback="mono8")
    if data.dtype != np.float32:
        return _color(data, encoding.to_gray)
    _finite(data)
    return data


def to_image_msg(image: NDArray[np.uint8], header: Header) -> Image:
    """uint8 image to a message: (H, W, 3) RGB as rgb8, (H, W) as mono8."""
    msg = Image(header=header, height=image.shape[0], width=image.shape[1])
    msg.encoding = "rgb8" if image.ndim == 3 else "mono8"
    msg.step = int(np.prod(image.shape[1:]))
    msg.data = _bytes(image)
    return msg


class Compression(NamedTuple):
    """How images are compressed."""

    kind: str
    """jpeg or png; the word for it in CompressedImage.format."""
    quality: int
    """1..100, the lower the smaller. Of JPEG what its libraries take; a PNG loses nothing, of it the compression level,
    from 1 (100: fast) to 9 (1: slow).
    """


def to_compressed_msg(rgb: NDArray[np.uint8], header: Header, compression: Compression) -> CompressedImage:
    """(H, W, 3) uint8 RGB to a message as image_transport's compressed plugin writes it."""
    kind, quality = compression
    if kind == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    else:
        options = [cv2.IMWRITE_PNG_COMPRESSION, max(1, round((100 - quality) / 11))]
    done, encoded = cv2.imencode(f".{kind}", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ConversionError(f"cannot encode an image of shape {rgb.shape} as {kind}")
    return CompressedImage(header=header, format=f"rgb8; {kind} compressed bgr8", data=_bytes(encoded))


def _bytes(data: Array) -> array.array[int]:
    """The one container rclpy takes without looking at every byte."""
    out = array.array("B")
    out.frombytes(np.ascontiguousarray(data).data)
    return out


def _read(msg: Image | CompressedImage, max_pixels: int, fallback: str) -> tuple[Array, Encoding]:
    _check_message(msg, max_pixels)
    if isinstance(msg, CompressedImage):
        return _decompress(msg, max_pixels)
    encoding = ENCODINGS.get(msg.encoding)
    if encoding is None:
        return _ask_cv_bridge(msg, max_pixels, fallback), ENCODINGS[fallback]
    pixels = _unpack(msg, encoding, max_pixels)
    if msg.encoding == "nv24":
        return _rgb_of_nv24(pixels, msg.height), ENCODINGS["rgb8"]
    return pixels, encoding


def _unpack(msg: Image, encoding: Encoding, max_pixels: int) -> Array:
    """Bytes to (H, W) or (H, W, C) in native byte order, without row padding."""
    _check_size(msg.width, msg.height, max_pixels)
    if encoding.channels == 2 and msg.width % 2:
        raise ConversionError(f"{msg.encoding} stores pixels in pairs, but the width {msg.width} is odd")
    if encoding.chroma == 1 and (msg.width % 2 or msg.height % 2):
        raise ConversionError(f"{msg.encoding} stores 2x2 pixels together, but the image is {msg.width}x{msg.height}")
    if encoding.chroma == 4 and msg.step != msg.width:
        raise ConversionError(f"{msg.encoding} rows must not be padded, but step is {msg.step}, the width {msg.width}")
    dtype = np.dtype(encoding.dtype).newbyteorder(">" if msg.is_bigendian else "<")
    row = msg.width * encoding.channels * dtype.itemsize
    if msg.step < row:
        content = f"{msg.width} {msg.encoding} pixels"
        raise ConversionError(f"step {msg.step} is shorter than a row of {content}, {row} bytes")
    count = msg.height + msg.height * encoding.chroma // 2
    needed = msg.step * (count - 1) + row
    if len(msg.data) < needed:
        raise ConversionError(
            f"truncated: {len(msg.data)} bytes of data, a {msg.width}x{msg.height} {msg.encoding} image with step "
            f"{msg.step} has {needed}"
        )
    data = np.frombuffer(msg.data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(data, (count, row), (msg.step, 1), writeable=False)
    pixels: Array = np.ascontiguousarray(rows).view(dtype).astype(encoding.dtype, copy=False)
    return pixels.reshape(msg.height, msg.width, encoding.channels) if encoding.channels > 1 else pixels


def _rgb_of_nv24(rows: Array, height: int) -> Array:
    """(3 H, W) luma and chroma, as yuyv of twice the width: OpenCV knows no chroma for each pixel in two planes."""
    luma, chroma = rows[:height], rows[height:].reshape(height, -1, 2)
    packed = np.stack([np.repeat(luma, 2, 1), chroma.reshape(height, -1)], -1)
    return np.ascontiguousarray(cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_YUYV)[:, ::2])


def _decompress(msg: CompressedImage, max_pixels: int) -> tuple[Array, Encoding]:
    data = bytes(msg.data)
    size = encoded_size(data)
    if size is None:
        raise ConversionError(f"compressed data (format {msg.format[:_SHOWN]!r}) is neither JPEG nor PNG, or damaged")
    _check_size(*size, max_pixels)  # before decoding: a small file may claim a huge image
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ConversionError(f"cannot decode compressed data (format {msg.format[:_SHOWN]!r}): {error.err}") from error
    if image is None:
        raise ConversionError(f"cannot decode compressed data (format {msg.format[:_SHOWN]!r}, {len(data)} bytes)")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype == np.uint16 and channels > 1:
        image = np.right_shift(image, 8).astype(np.uint8)
    names = {(1, "uint8"): "mono8", (1, "uint16"): "mono16", (3, "uint8"): "bgr8", (4, "uint8"): "bgra8"}
    name = names.get((channels, image.dtype.name))
    if name is None:
        raise ConversionError(f"compressed image holds {channels} channels of {image.dtype}")
    return image, ENCODINGS[name]


def _ask_cv_bridge(msg: Image, max_pixels: int, wanted: str) -> Array:
    """An encoding unknown here: cv_bridge may know it, where it is installed."""
    _check_size(msg.width, msg.height, max_pixels)
    try:
        from cv_bridge import CvBridge
    except Exception:  # it also fails with other errors than ImportError when built against another NumPy
        known = ", ".join(ENCODINGS)
        raise ConversionError(f"encoding {msg.encoding[:_SHOWN]!r} is not supported; supported: {known}") from None
    try:
        return np.ascontiguousarray(CvBridge().imgmsg_to_cv2(msg, desired_encoding=wanted), dtype=np.uint8)
    except Exception as error:
        name = msg.encoding[:_SHOWN]
        raise ConversionError(f"cv_bridge cannot convert encoding {name!r} to {wanted}: {error}") from error


def _check_message(msg: Image | CompressedImage, max_pixels: int) -> None:
    """Before anything is copied."""
    limit = MAX_BYTES_PER_PIXEL * max_pixels
    if len(msg.data) > limit:
        raise ConversionError(f"{len(msg.data)} bytes of data, more than {limit} ({MAX_BYTES_PER_PIXEL} x max_pixels)")
    if len(msg.header.frame_id) > _MAX_FRAME_ID:
        raise ConversionError(f"frame_id has {len(msg.header.frame_id)} characters, more than {_MAX_FRAME_ID}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ConversionError(f"empty image: width {width}, height {height}")
    if width * height > max_pixels:
        raise ConversionError(f"{width}x{height} is {width * height} pixels, more than max_pixels ({max_pixels})")


def _color(data: Array, code: int | None) -> Array:
    try:
        return data if code is None else cv2.cvtColor(data, code)
    except cv2.error as error:
        raise ConversionError(f"cannot convert an image of shape {data.shape}: {error.err}") from error


def _finite(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Non-finite pixels take the smallest finite value."""
    finite = np.isfinite(data)
    if finite.all():
        return data
    if not finite.any():
        raise ConversionError("32FC1 image without one finite value")
    return np.where(finite, data, data[finite].min()).astype(np.float32)
