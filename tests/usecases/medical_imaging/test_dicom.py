from __future__ import annotations

import io
import logging
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("libjpeg")
pytest.importorskip("openjpeg")

from pydicom.dataset import Dataset  # noqa: E402

from usecases.medical_imaging import anonymous, dicom, display, reading  # noqa: E402
from usecases.medical_imaging.cases import Picture  # noqa: E402
from usecases.medical_imaging.scaling import Unreadable  # noqa: E402

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"  # what comes with pydicom itself
FILES = sorted(
    p for p in FOLDER.rglob("*") if p.is_file() and p.suffix not in (".md", ".json", ".icc", ".txt", ".dump", ".gz", ".py")
)
REASONS = {
    "no pixel data": "UN_sequence.dcm empty_charset_LEI.dcm priv_SQ.dcm no_meta_group_length.dcm",
    "of the class": "reportsi.dcm reportsi_with_empty_number_tags.dcm test-SR.dcm rtplan.dcm rtplan_truncated.dcm rtstruct.dcm"
    " ExplVR_BigEndNoMeta.dcm ExplVR_LitEndNoMeta.dcm",
    "is a segmentation": "liver_1frame.dcm liver_expb_1frame.dcm",
    "a waveform": "waveform_ecg.dcm",
    "is empty": "meta_missing_tsyntax.dcm nested_priv_SQ.dcm",
    "cut short": "MR_truncated.dcm",
    "contradicts itself": "badVR.dcm",  # "1A" frames
    "another size": "JPEG2000-embedded-sequence-delimiter.dcm",  # its code stream was overwritten
    "cannot be decoded": "JPEG-lossy.dcm",  # which is damaged, and JPGExtended.dcm repaired
    "not an image of a kind": "no_meta.dcm README",  # its first bytes are damaged
}


def reason(path: Path) -> str:
    if path.name.startswith("DICOMDIR"):
        return "DICOMDIR"
    return next((why for why, names in REASONS.items() if path.name in names.split()), "")


def read(data: bytes | Dataset, salt: str = "s") -> list[Picture]:
    if isinstance(data, Dataset):
        file = io.BytesIO()
        data.save_as(file, enforce_file_format=True)
        data = file.getvalue()
    return list(dicom.frames(data, "a", salt))


def expected(path: Path) -> list[np.ndarray]:
    """What a screen shows, worked out in another way: pydicom's pixels, and a table of every value through the window."""
    dataset = pydicom.dcmread(path, force=True)
    pixels = pydicom.pixels.pixel_array(dataset)
    several = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels[None]
    return [_expected(one, dataset) for one in several]


def _expected(stored: np.ndarray, dataset: Any) -> np.ndarray:
    kind, bits = dataset.PhotometricInterpretation, dataset.BitsStored
    if kind == "PALETTE COLOR":
        colours = pydicom.pixels.apply_color_lut(stored, dataset)
        return colours / np.iinfo(colours.dtype).max
    if stored.ndim == 3 or (bits <= 8 and "RescaleSlope" not in dataset):
        return stored / (2.0**bits - 1)
    values = stored * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    padding = stored == dataset.PixelPaddingValue if "PixelPaddingValue" in dataset else np.zeros(stored.shape, bool)
    if "WindowCenter" in dataset:
        center, width = (np.atleast_1d(dataset[key].value)[0] for key in ("WindowCenter", "WindowWidth"))
        shown = np.array([(v - (center - 0.5)) / (width - 1) + 0.5 for v in values.ravel()]).reshape(values.shape)
    else:
        inside = values[~padding] if not padding.all() else values
        low, high = np.percentile(inside, (0.5, 99.5))
        shown = (values - low) / (high - low) if high > low else (values - values.min()) / max(np.ptp(values), 1)
    shown = np.clip(shown, 0, 1)
    return np.where(padding, 0, 1 - shown if kind == "MONOCHROME1" else shown)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_every_file_of_pydicom_decodes_to_the_right_pixels_or_gives_one_reason(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "covered", lambda picture: picture)
    why = reason(path)
    if path.parent.name == "SE000000":
        why = "no pixel data"
    if why:
        with pytest.raises(Unreadable, match=why):
            list(reading.read(path, "s"))
        return
    pictures = list(reading.read(path, "s"))
    for picture, right in zip(pictures, expected(path), strict=True):
        assert picture.pixels.dtype == np.float32
        whole = picture.pixels if picture.pixels.ndim == right.ndim else np.dstack([picture.pixels] * 3)
        lossy = "JPEG Baseline" in str(picture.about["transfer syntax"])  # whose decoders round in their own ways
        np.testing.assert_allclose(whole, right, atol=3.01 / 255 if lossy else 1e-5)


@pytest.mark.parametrize(
    ("one", "other", "most"),
    [
        ("MR_small.dcm", "MR_small_RLE.dcm", 0),
        ("MR_small.dcm", "MR_small_bigendian.dcm", 0),
        ("MR_small.dcm", "MR_small_implicit.dcm", 0),
        ("MR_small.dcm", "MR_small_jp2klossless.dcm", 0),
        ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm", 0),
        ("rtdose.dcm", "rtdose_rle.dcm", 0),
        ("rtdose.dcm", "rtdose_expb.dcm", 0),
        ("SC_rgb_jpeg.dcm", "SC_rgb_jpeg_dcmd.dcm", 0.005),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm", 0),
        ("SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", 0.03),
        ("SC_rgb_rle.dcm", "SC_rgb_jpeg_dcmtk.dcm", 0.03),
        ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", 0),
    ],
)
def test_one_image_in_several_syntaxes_is_the_same_image(one: str, other: str, most: float) -> None:
    for a, b in zip(read((FOLDER / one).read_bytes()), read((FOLDER / other).read_bytes()), strict=True):
        assert np.abs(a.pixels - b.pixels).max() <= most


def small(pixels: np.ndarray, kind: str = "MONOCHROME2", **elements: object) -> Dataset:
    """A secondary capture with the given stored values."""
    dataset = pydicom.dcmread(FOLDER / "SC_rgb_small_odd.dcm")
    for key in ("PlanarConfiguration", "NumberOfFrames"):
        if key in dataset:
            del dataset[key]
    bits = 8 * pixels.dtype.itemsize
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3 if pixels.ndim == 3 else 1, kind
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for key, value in elements.items():
        setattr(dataset, key, value)
        if dataset[key].VR == "US or SS":
            dataset[key].VR = "SS"
    return dataset


RAMP = np.arange(-40, 60, dtype=np.int16).reshape(10, 10)


def test_windows_are_the_standards() -> None:
    center, width = 10.0, 40.0
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        (picture,) = read(
            small(RAMP, WindowCenter=["10", "99"], WindowWidth=["40", "9"], VOILUTFunction=function, BitsStored=12, HighBit=11)
        )
        for value, shown in zip(RAMP.ravel(), picture.pixels.ravel(), strict=True):
            if function == "SIGMOID":
                right = 1 / (1 + np.exp(-4 * (value - center) / width))
            else:
                c, w = (center - 0.5, width - 1) if function == "LINEAR" else (center, width)
                right = 0 if value <= c - w / 2 else 1 if value > c + w / 2 else (value - c) / w + 0.5
            assert shown == pytest.approx(right, abs=1e-5), (function, value)
    assert set(display.window(RAMP, 0.5, 1).ravel().tolist()) == {0, 1}  # the narrowest is a threshold


def test_monochrome1_is_inverted_and_padding_is_black_and_outside_the_range() -> None:
    stored = RAMP.copy()
    stored[0] = -2000
    plain, padded = read(small(stored, "MONOCHROME1"))[0], read(small(stored, "MONOCHROME1", PixelPaddingValue=-2000))[0]
    assert plain.pixels[0].min() == 1
    assert padded.pixels[0].max() == 0
    assert padded.pixels[1, 0] == 1
    assert padded.pixels[-1, -1] == 0
    assert 0.3 < padded.pixels[5, 5] < 0.7  # plain: the padding stretches the range, all is about as dark
    assert np.ptp(plain.pixels[1:]) < 0.1


def table(first: int, entries: np.ndarray, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [len(entries), first, bits], entries.astype(np.uint16).tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "SS" if first < 0 else "US", "OW"
    return item


def test_lookup_tables_of_modality_and_voi_are_applied_in_turn() -> None:
    modality, voi = np.array([7, 5, 3, 1]), np.array([0, 10, 20, 40, 80, 160, 250, 255])
    stored = np.arange(8, dtype=np.uint8).reshape(2, 4)
    dataset = small(stored, ModalityLUTSequence=[table(2, modality, 8)], VOILUTSequence=[table(0, voi, 8)])
    right = [voi[modality[min(max(value - 2, 0), 3)]] / 255 for value in range(8)]
    np.testing.assert_allclose(read(dataset)[0].pixels.ravel(), right, atol=1e-6)


def test_each_frame_has_its_own_window_and_scale() -> None:
    def item(**elements: object) -> Dataset:
        made = Dataset()
        for key, value in elements.items():
            setattr(made, key, value)
        return made

    frames = [
        item(
            FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")],
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=1, RescaleType="US")],
        )
        for center, slope in ((0, 1), (50, 2))
    ]
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])])
    dataset = small(RAMP, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=frames, SharedFunctionalGroupsSequence=[shared])
    dataset.PixelData = RAMP.tobytes() * 2
    pictures = read(dataset)
    assert [picture.name for picture in pictures] == ["a#1", "a#2"]
    assert pictures[0].spacing == (0.5, 0.25)
    for picture, center, slope in zip(pictures, (0, 50), (1, 2), strict=True):
        np.testing.assert_allclose(picture.pixels, np.clip((RAMP * slope + 1 - center) / 100 + 0.5, 0, 1), atol=1e-6)


def test_overlays_in_unused_bits_do_not_show() -> None:
    stored = (RAMP + 40).astype(np.uint16)
    with_overlay = stored | (np.uint16(0xF000) * (stored % 3 == 0).astype(np.uint16))
    a, b = (read(small(one, BitsStored=12, HighBit=11, WindowCenter=50, WindowWidth=100))[0] for one in (stored, with_overlay))
    np.testing.assert_array_equal(a.pixels, b.pixels)


def test_float_pixels_and_entries_of_16_bits_in_palettes() -> None:
    dataset = small(np.zeros((10, 10), np.uint8), WindowCenter=0.25, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT")
    del dataset.PixelData
    dataset.FloatPixelData = np.linspace(0, 1, 100, dtype=np.float32).tobytes()
    dataset.BitsAllocated = 32
    np.testing.assert_allclose(read(dataset)[0].pixels.ravel(), np.clip(np.linspace(0, 2, 100), 0, 1), atol=1e-6)
    colours = np.arange(4, dtype=np.uint16) * 20000
    lookup = {f"{c}PaletteColorLookupTableData": (colours + i).astype("<u2").tobytes() for i, c in enumerate(dicom.COLOURS)}
    lookup |= {f"{c}PaletteColorLookupTableDescriptor": [4, 1, 16] for c in dicom.COLOURS}
    picture = read(small(np.array([[0, 1], [3, 9]], np.uint8), "PALETTE COLOR", **lookup))[0]
    np.testing.assert_allclose(picture.pixels[..., 2] * 65535, [[2, 2], [40002, 60002]], atol=0.01)


def test_segmented_palettes_are_expanded_as_pydicom_does() -> None:
    codes = np.array([0, 2, 10, 30, 1, 5, 80, 0, 1, 7, 2, 1, 0, 0], "<u2")  # given, rising, given, and the first segment again
    lookup = {f"Segmented{c}PaletteColorLookupTableData": codes.tobytes() for c in dicom.COLOURS}
    lookup |= {f"{c}PaletteColorLookupTableDescriptor": [10, 0, 16] for c in dicom.COLOURS}
    dataset = small(np.arange(10, dtype=np.uint8).reshape(2, 5), "PALETTE COLOR", **lookup)
    right = pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset)
    np.testing.assert_allclose(read(dataset)[0].pixels * 255, right, atol=1e-4)


def changed(name: str, **elements: object) -> Dataset:
    dataset = pydicom.dcmread(FOLDER / name)
    for key, value in elements.items():
        setattr(dataset, key, value)
    return dataset


def code_stream() -> Dataset:
    """A JPEG 2000 image whose own header says that it is far larger than the file's says."""
    dataset = pydicom.dcmread(FOLDER / "MR_small_jp2klossless.dcm")
    stream = bytearray(dataset.PixelData)
    at = stream.index(b"\xff\x4f\xff\x51")
    stream[at + 8 : at + 16] = (65_000).to_bytes(4) * 2
    dataset.PixelData = bytes(stream)
    return dataset


def deflated() -> bytes:
    """64 MB of zeros, deflated."""
    whole = (FOLDER / "image_dfl.dcm").read_bytes()
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"".join(pack.compress(bytes(1 << 24)) for _ in range(4)) + pack.flush()
    return whole[: 144 + int.from_bytes(whole[140:144], "little")] + zeros


BOMBS: dict[str, tuple[Callable[[], bytes | Dataset], str]] = {
    "rows and columns": (lambda: changed("CT_small.dcm", Rows=65535, Columns=65535), "million values"),
    "frames": (lambda: changed("CT_small.dcm", NumberOfFrames=1_000_000), "100,000 images"),
    "frames that are not there": (lambda: changed("CT_small.dcm", NumberOfFrames=90_000, Rows=20, Columns=20), "cut short"),
    "frames of single pixels": (lambda: changed("CT_small.dcm", NumberOfFrames=16_384, Rows=1, Columns=1), "less than 16 pixels"),
    "frames for hours": (lambda: changed("MR_small_RLE.dcm", NumberOfFrames=50, Rows=6000, Columns=6000), "2,000 times"),
    "compressed frames that are not there": (lambda: changed("MR_small_jp2klossless.dcm", NumberOfFrames=90_000), "cut short"),
    "code stream": (code_stream, "another size"),
    "deflated": (deflated, "when it is unpacked"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_before_anything_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "_decoded", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(dicom, "DEFLATED_LIMIT", 32 << 20)
    made, why = BOMBS[kind]
    with pytest.raises(Unreadable, match=why):
        read(made())


def test_a_header_promises_no_more_images_than_its_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def promised(made: bytes | Dataset) -> int:
        made.save_as(path, enforce_file_format=True) if isinstance(made, Dataset) else path.write_bytes(made)
        return reading.count(path)

    for name in ("rtdose.dcm", "SC_rgb_rle_2frame.dcm", "CT_small.dcm", "image_dfl.dcm"):
        assert promised((FOLDER / name).read_bytes()) == len(read((FOLDER / name).read_bytes()))
    assert promised(changed("rtdose.dcm", NumberOfFrames=90_000)) == 1
    assert promised(changed("SC_rgb_rle_2frame.dcm", NumberOfFrames=90_000)) == 1
    assert promised(deflated()) == 1


@pytest.mark.parametrize("bits", [0, 8])
def test_a_lookup_table_that_lies_shows_nothing_beyond_black_and_white(bits: int) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [16, 0, bits], np.arange(0, 16_000, 1000, "<u2").tobytes()
    dataset = small(RAMP, VOILUTSequence=[table])
    if not bits:
        with pytest.raises(Unreadable, match="no bits"):
            read(dataset)
    else:
        (picture,) = read(dataset)
        assert (picture.pixels.min(), picture.pixels.max()) == (0, 1)


def test_a_missing_decoder_is_one_reason_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEG2000Lossless)
    monkeypatch.setattr(type(decoder), "available_plugins", property(lambda _: ("gdcm",)))
    with pytest.raises(Unreadable, match=r'JPEG 2000.*pip install "usecases\[medical\]"'):
        read((FOLDER / "MR_small_jp2klossless.dcm").read_bytes())


@pytest.mark.parametrize("removed", ["", " ", "0000", "XXXX", "Anonymous", "***"])
def test_where_a_patients_id_was_removed_a_study_is_of_one_patient(removed: str) -> None:
    slices = [read(small(RAMP, PatientID=removed, StudyInstanceUID=study))[0].patient for study in ("1.2.3", "1.2.3", "1.2.4")]
    assert slices[0] == slices[1] == anonymous.pseudonym("1.2.3", "s")
    assert slices[2] != slices[0]
    without = small(RAMP, PatientID=removed, SeriesInstanceUID="1.2.5")
    del without.StudyInstanceUID
    assert read(without)[0].patient == anonymous.pseudonym("1.2.5", "s")


def test_millimetres_at_the_detector_or_on_a_film_are_none_in_the_patient() -> None:
    for elements, right in (
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.2]}, (0.2, 0.1)),
        ({"PixelSpacing": [0.3, 0.2], "ImagerPixelSpacing": [0.3, 0.2]}, None),  # not corrected for the distance
        ({"ImagerPixelSpacing": [0.3, 0.2]}, None),
        ({"NominalScannedPixelSpacing": [0.3, 0.2]}, None),
    ):
        dataset = small(RAMP)
        del dataset.PixelSpacing
        for key, value in elements.items():
            setattr(dataset, key, value)
        assert read(dataset)[0].spacing == right, elements


def test_nothing_that_tells_of_a_person_gets_out(caplog: pytest.LogCaptureFixture) -> None:
    secrets = {"PatientName": "Zyx^Secret", "PatientID": "Zyx4711", "StudyDescription": "Zyx", "BodyPartExamined": "ZYX"}
    dataset = small(RAMP, **secrets, Manufacturer="Zyx Clinic", Modality="MR", PixelSpacing=[2, 1], BurnedInAnnotation="NO")
    with caplog.at_level(logging.DEBUG):
        (picture,) = read(dataset, "salt")
        dataset.PatientBirthDate = "Zyx-not-a-date"
        dataset.NumberOfFrames = "7"
        with pytest.raises(Unreadable) as short:
            read(dataset)
        with pytest.raises(Unreadable) as wrong:
            read((FOLDER / "badVR.dcm").read_bytes())  # it has "1A" frames, which pydicom's own error quotes
    told = "".join(traceback.format_exception(short.value) + traceback.format_exception(wrong.value))
    text = repr(picture) + told + caplog.text
    assert "Zyx" not in text
    assert "ZYX" not in text
    assert "'1A'" not in text
    assert picture.patient == anonymous.pseudonym("Zyx4711", "salt") != read(small(RAMP), "salt")[0].patient
    assert picture.spacing == (2, 1)
    assert {k: picture.about[k] for k in ("format", "modality", "burnt in", "width", "height", "bits")} == {
        "format": "DICOM", "modality": "MR", "burnt in": "NO", "width": 10, "height": 10, "bits": 16,
    }  # fmt: skip
