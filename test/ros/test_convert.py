"""Messages to arrays and back: every encoding, and every way a message can be wrong."""

from __future__ import annotations

import array
import sys
import types
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cldyn_ros.convert import (
    ENCODINGS,
    Compression,
    ConversionError,
    to_compressed_msg,
    to_image_msg,
    to_infrared,
    to_visible,
)
from cldyn_ros.image_header import encoded_size

LIMIT = 1 << 22


def image_msg(pixels: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """`pixels` (H, W) or (H, W, C) as a camera driver would send it."""
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = [stored[y].tobytes() + b"\xee" * padding for y in range(len(stored))]
    msg = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.is_bigendian = int(big_endian)
    msg.step = len(rows[0])
    msg.data = array.array("B", b"".join(rows))
    return msg


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """Smooth (H, W, 3) RGB image whose channels differ."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([60 + x * 3, 200 - y * 4, 30 + x + y], axis=-1).astype(np.uint8)


def yuv422(rgb: np.ndarray, order: str) -> np.ndarray:
    """(H, W, 2) bytes by the BT.601 limited range formulas."""
    r, g, b = (rgb[..., k].astype(float) for k in range(3))
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    chroma = np.empty_like(y)
    chroma[:, 0::2], chroma[:, 1::2] = u[:, 0::2], v[:, 0::2]
    planes = (chroma, y) if order == "uyvy" else (y, chroma)
    return np.rint(np.stack(planes, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]),
                               ("bgra8", [2, 1, 0, 0])]
)  # fmt: skip
def test_color_order(encoding: str, channels: list[int], padding: int) -> None:
    rgb = gradient()
    out = to_visible(image_msg(rgb[..., channels], encoding, padding), LIMIT)
    np.testing.assert_array_equal(out, rgb)
    gray = to_infrared(image_msg(rgb[..., channels], encoding, padding), LIMIT)
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    assert gray.shape == rgb.shape[:2]
    assert np.abs(gray - expected).max() <= 1.0


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_mono8(encoding: str) -> None:
    gray = gradient()[..., 0]
    np.testing.assert_array_equal(to_infrared(image_msg(gray, encoding, 3), LIMIT), gray)
    np.testing.assert_array_equal(to_visible(image_msg(gray, encoding), LIMIT), np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["mono16", "16UC1"])
def test_16_bit_keeps_raw_values(encoding: str, big_endian: bool) -> None:
    raw = np.arange(6 * 5, dtype=np.uint16).reshape(6, 5) * 2000 + 7
    out = to_infrared(image_msg(raw, encoding, 4, big_endian), LIMIT)
    assert out.dtype == np.uint16
    assert out.dtype.isnative
    np.testing.assert_array_equal(out, raw)
    np.testing.assert_array_equal(to_visible(image_msg(raw, encoding, 0, big_endian), LIMIT)[..., 0], raw >> 8)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("name", ["rgb", "bgr", "rgba", "bgra", "bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg"])
def test_color_of_16_bits_is_that_of_8_with_finer_gray(name: str, big_endian: bool) -> None:
    channels = ENCODINGS[f"{name}8"].channels
    pixels = gradient()[..., 0] if channels == 1 else gradient()[..., [0, 1, 2, 0][:channels]]
    eight, sixteen = (
        image_msg(pixels, f"{name}8"),
        image_msg(pixels.astype(np.uint16) * 257, f"{name}16", 2, big_endian),
    )
    np.testing.assert_array_equal(to_visible(sixteen, LIMIT), to_visible(eight, LIMIT))
    gray = to_infrared(sixteen, LIMIT)
    assert gray.dtype == np.uint16
    assert np.abs(gray / 257 - to_infrared(eight, LIMIT)).max() <= 1.0


def test_three_channels_of_16_bits_without_an_order_are_those_of_opencv() -> None:
    pixels = gradient().astype(np.uint16) * 257
    named, unnamed = (to_visible(image_msg(pixels, name), LIMIT) for name in ("bgr16", "16UC3"))
    np.testing.assert_array_equal(unnamed, named)


@pytest.mark.parametrize("big_endian", [False, True])
def test_float_infrared_survives_nan(big_endian: bool) -> None:
    raw = np.linspace(280.0, 320.0, 20, dtype=np.float32).reshape(4, 5)
    raw[1, 2], raw[2, 2] = np.nan, np.inf
    out = to_infrared(image_msg(raw, "32FC1", 0, big_endian), LIMIT)
    assert out.dtype == np.float32
    assert out.dtype.isnative
    np.testing.assert_array_equal(out, raw)


def test_float_without_finite_values_is_refused() -> None:
    with pytest.raises(ConversionError, match="finite"):
        to_infrared(image_msg(np.full((2, 2), np.nan, np.float32), "32FC1"), LIMIT)


def test_visible_float_is_unit_range_or_refused() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(to_visible(image_msg(unit, "32FC1"), LIMIT)[0, :, 1], [0, 128, 255])
    with pytest.raises(ConversionError, match=r"0\.\.1.*0\.\.300"):
        to_visible(image_msg(unit * 300, "32FC1"), LIMIT)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("color", range(3))
def test_bayer_patterns(pattern: str, color: int) -> None:
    """A scene of one pure color lights exactly the cells of that letter."""
    mosaic = np.zeros((16, 16), np.uint8)
    for k, letter in enumerate(pattern):
        if letter == "rgb"[color]:
            mosaic[k // 2 :: 2, k % 2 :: 2] = 200
    rgb = to_visible(image_msg(mosaic, f"bayer_{pattern}8"), LIMIT)
    expected = [200 if k == color else 0 for k in range(3)]
    np.testing.assert_array_equal(rgb[4:12, 4:12].reshape(-1, 3), [expected] * 64)


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422(encoding: str, order: str) -> None:
    rgb = gradient()
    rgb[:, 1::2] = rgb[:, 0::2]  # two pixels share their chroma
    packed = yuv422(rgb, order)
    out = to_visible(image_msg(packed, encoding, 6), LIMIT)
    assert np.abs(out.astype(int) - rgb).max() <= 4
    luma = packed[..., 1 if order == "uyvy" else 0]
    np.testing.assert_array_equal(to_infrared(image_msg(packed, encoding), LIMIT), luma)


def planar(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """(rows, W) bytes: luma, then chroma. Blocks of 2x2 pixels of nv12 and nv21 must have one color."""
    pairs = np.repeat(rgb, 2, 1)  # so that every pixel has a chroma pair of its own
    y = yuv422(pairs, "yuyv")[:, ::2, 0]
    u, v = (yuv422(pairs, "yuyv")[:, k::2, 1] for k in (0, 1))
    if encoding != "nv24":
        u, v = u[::2, ::2], v[::2, ::2]
    chroma = np.stack((v, u) if encoding == "nv21" else (u, v), -1)
    return np.concatenate([y, chroma.reshape(-1, rgb.shape[1])])


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
@given(seed=st.integers(0, 99), rows=st.integers(1, 6), columns=st.integers(1, 6), padding=st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_luma_and_chroma_in_two_planes(encoding: str, seed: int, rows: int, columns: int, padding: int) -> None:
    rgb = np.random.default_rng(seed).integers(30, 220, (rows, columns, 3), dtype=np.uint8)
    rgb = rgb.repeat(2, 0).repeat(2, 1)
    if encoding == "nv24":
        rgb, padding = rgb[::2, ::2], 0
    msg = image_msg(planar(rgb, encoding), encoding, padding)
    msg.height = rgb.shape[0]
    assert np.abs(to_visible(msg, LIMIT).astype(int) - rgb).max() <= 4
    gray = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY).astype(int)
    full = 255 / 219 if encoding != "nv24" else 1.0  # the luma itself, in 16..235, as of yuv422; else of the colors
    offset = 16 if encoding != "nv24" else 0
    assert np.abs((to_infrared(msg, LIMIT) - float(offset)) * full - gray).max() <= 4
    msg.data = msg.data[: -padding - 1]
    with pytest.raises(ConversionError, match="truncated"):
        to_visible(msg, LIMIT)


def broken(**changes: object) -> Image:
    msg = image_msg(gradient(), "rgb8")
    for name, value in changes.items():
        setattr(msg, name, value)
    return msg


@pytest.mark.parametrize(
    ("msg", "text"),
    [
        (broken(width=0), "empty image: width 0"),
        (broken(height=0), "height 0"),
        (broken(data=array.array("B", bytes(100))), "truncated: 100 bytes.*2304"),
        (broken(step=10), r"step 10 is shorter.*96 bytes"),
        (broken(height=1 << 31, width=1 << 31), "max_pixels"),
        (broken(encoding="jpeg2000"), "'jpeg2000' is not supported; supported: mono8, .*bayer_rggb8"),
        (broken(encoding="yuv422", width=31), "width 31 is odd"),
        (broken(encoding="nv12", width=31), "stores 2x2 pixels together, but the image is 31x24"),
        (broken(encoding="nv21", height=23), "stores 2x2 pixels together, but the image is 32x23"),
        (broken(encoding="nv24"), "rows must not be padded, but step is 96, the width 32"),
        (CompressedImage(format="jpeg"), "neither JPEG nor PNG"),
        (CompressedImage(format="png", data=array.array("B", b"\x89PNG\r\n\x1a\n")), "neither JPEG nor PNG"),
    ],
)
def test_refusals_say_what_is_wrong(msg: Image | CompressedImage, text: str) -> None:
    for convert in (to_visible, to_infrared):
        with pytest.raises(ConversionError, match=text):
            convert(msg, LIMIT)


def test_last_row_may_lack_its_padding() -> None:
    msg = image_msg(gradient(), "rgb8", padding=8)
    msg.data = msg.data[:-8]
    np.testing.assert_array_equal(to_visible(msg, LIMIT), gradient())


def test_unknown_encoding_asks_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    class CvBridge:
        def imgmsg_to_cv2(self, msg: Image, desired_encoding: str) -> np.ndarray:
            if msg.encoding == "odd":
                raise TypeError("what is odd?")
            return np.full((msg.height, msg.width, 3), 9, np.uint8)

    module = types.ModuleType("cv_bridge")
    module.CvBridge = CvBridge  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert to_visible(broken(encoding="yvyu"), LIMIT).shape == (24, 32, 3)
    with pytest.raises(ConversionError, match=r"cv_bridge cannot convert encoding 'odd'.*what is odd"):
        to_visible(broken(encoding="odd"), LIMIT)


def compressed(pixels: np.ndarray, extension: str) -> CompressedImage:
    return CompressedImage(format=extension, data=array.array("B", cv2.imencode(f".{extension}", pixels)[1].tobytes()))


def test_compressed_png() -> None:
    rgb = gradient()
    np.testing.assert_array_equal(to_visible(compressed(rgb[..., ::-1], "png"), LIMIT), rgb)
    raw = np.arange(30, dtype=np.uint16).reshape(5, 6) * 2000
    out = to_infrared(compressed(raw, "png"), LIMIT)
    assert out.dtype == np.uint16
    np.testing.assert_array_equal(out, raw)
    assert to_visible(compressed(np.dstack([rgb, rgb[..., :1]]), "png"), LIMIT).shape == rgb.shape
    assert to_visible(compressed(rgb.astype(np.uint16) * 257, "png"), LIMIT).dtype == np.uint8


def test_compressed_round_trip() -> None:
    rgb = np.random.default_rng(0).integers(0, 40, (96, 128, 3), np.uint8) + gradient(96, 128) // 2
    header = Header(frame_id="cam")
    for kind, good, bad in (("jpeg", 10, 30), ("png", 0, 0)):
        fine, coarse = (to_compressed_msg(rgb, header, Compression(kind, quality)) for quality in (100, 1))
        assert fine.format == coarse.format == f"rgb8; {kind} compressed bgr8"
        assert fine.header == header
        assert len(coarse.data) < len(fine.data) < rgb.size
        assert np.abs(to_visible(fine, LIMIT).astype(int) - rgb).mean() <= good
        assert np.abs(to_visible(coarse, LIMIT).astype(int) - rgb).mean() <= bad


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_compressed_size_is_checked_before_decoding(extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    msg = compressed(gradient(), extension)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ConversionError, match="32x24 is 768 pixels, more than max_pixels"):
        to_visible(msg, 700)


def test_a_message_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever width and height say, and whether the bytes are compressed or not; so are texts that go on."""
    monkeypatch.setattr(np, "frombuffer", lambda *_: pytest.fail("read"))
    long = array.array("B", bytes(16 * 768 + 1))
    for msg in (broken(data=long), broken(data=long, width=1, height=1), CompressedImage(format="jpeg", data=long)):
        for convert in (to_visible, to_infrared):
            with pytest.raises(ConversionError, match=r"12289 bytes of data, more than 12288 \(16 x max_pixels\)"):
                convert(msg, 768)
    with pytest.raises(ConversionError, match="frame_id has 257 characters"):
        to_visible(broken(header=Header(frame_id="f" * 257)), LIMIT)
    with pytest.raises(ConversionError, match=r"encoding 'eeee.*") as refusal:
        to_visible(broken(encoding="e" * 10_000), LIMIT)
    assert len(str(refusal.value)) < 1000


def test_a_file_that_hides_its_size_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files say 8x8 to a reader that skips what it does not know, and decoders find 300x300 in the JPEG."""
    large = np.full((300, 300, 3), 7, np.uint8)
    jpeg, png = (cv2.imencode(kind, large)[1].tobytes() for kind in (".jpg", ".png"))
    frame_8x8 = b"\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    skipped = (jpeg[2:] + bytes(8)).ljust(5000, b"\0")
    hidden_jpeg = b"\xff\xd8\xff\x00" + len(skipped).to_bytes(2, "big") + skipped[2:] + frame_8x8
    decoy = b"teSt" + bytes([0, 0, 0, 8, 0, 0, 0, 8]) + bytes(5)
    hidden_png = png[:8] + (13).to_bytes(4, "big") + decoy + zlib.crc32(decoy).to_bytes(4, "big") + png[8:]
    for data in (b"\xff\xd8" + b"\xff\xd8" + jpeg[2:], hidden_jpeg, hidden_png):
        assert encoded_size(data) is None
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ConversionError, match="neither JPEG nor PNG"):
        to_visible(CompressedImage(format="jpeg", data=array.array("B", hidden_jpeg)), 1000)


def test_encoded_size_of_progressive_jpeg_with_a_comment() -> None:
    done, data = cv2.imencode(".jpg", gradient(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    plain = data.tobytes()
    assert done
    commented = plain[:2] + b"\xff\xff\xfe\x00\x06abcd" + plain[2:]
    assert encoded_size(plain) == encoded_size(commented) == (32, 24)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    color=st.booleans(),
    strided=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_round_trip(shape: tuple[int, int], color: bool, strided: bool, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels = pixels[:, ::-1] if strided else pixels
    pixels = pixels if color else pixels[..., 1]
    header = Header(frame_id="visible_optical")
    msg = to_image_msg(pixels, header)
    assert (msg.header, msg.height, msg.width) == (header, *shape)
    np.testing.assert_array_equal(to_visible(msg, LIMIT) if color else to_infrared(msg, LIMIT), pixels)


@given(
    encoding=st.one_of(st.sampled_from([*ENCODINGS, "32FC3"]), st.text(max_size=5)),
    width=st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1)),
    height=st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1)),
    step=st.one_of(st.integers(0, 60), st.integers(0, 2**32 - 1)),
    big_endian=st.integers(0, 255),
    data=st.binary(max_size=600),
)
@settings(deadline=None, max_examples=400)
def test_arbitrary_messages_convert_or_are_refused(
    encoding: str, width: int, height: int, step: int, big_endian: int, data: bytes
) -> None:
    msg = Image(encoding=encoding, width=width, height=height, step=step, is_bigendian=big_endian)
    msg.data = array.array("B", data)
    for convert in (to_visible, to_infrared):
        try:
            out = convert(msg, LIMIT)
        except ConversionError:
            continue
        assert out.shape[:2] == (height, width)


@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]),
    cut=st.integers(0, 400),
)
@settings(deadline=None, max_examples=200)
def test_arbitrary_compressed_data_converts_or_is_refused(data: bytes, start: bytes, cut: int) -> None:
    whole = cv2.imencode(".jpg", gradient())[1].tobytes()
    for content in (start + data, whole[:cut] + data):
        try:
            to_visible(CompressedImage(format="x", data=array.array("B", content)), 10_000)
        except ConversionError:
            continue
