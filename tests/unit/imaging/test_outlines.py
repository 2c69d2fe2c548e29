"""Outlines, and what becomes of them in the files of other programs, drawn again."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from roifile import ROI_TYPE, ImagejRoi
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.geojson import cells_geojson, spots_geojson
from kiosk_tasks.imaging.labels import LabelImage, Labels
from kiosk_tasks.imaging.measure import measure_cells
from kiosk_tasks.imaging.outlines import trace
from kiosk_tasks.imaging.rois import RoiZip, cell_rois, regions, spot_roi

SHAPES: dict[str, list[str]] = {
    "nothing": ["...", "..."],
    "one pixel": ["1"],
    "touching": ["112", "132", "332"],
    "diagonal": ["1..", ".1.", "..1"],
    "diagonal of two": ["12", "21"],
    "hole": ["1111", "1..1", "1111"],
    "cell in a hole": ["11111", "1.2.1", "11111"],
    "island in a hole": ["11111", "1...1", "1.1.1", "1...1", "11111"],
    "hole that touches the outside": ["111.", "1.1.", "11.1", "1111"],
    "holes that touch": ["11111", "1.111", "11.11", "11111"],
    "hole at the corner of a diagonal": [".111", "1.11", "11.1", "111."],
    "several pieces": ["1.1", "...", "1.2"],
    "rings in rings": ["1111111", "1.....1", "1.111.1", "1.1.1.1", "1.111.1", "1.....1", "1111111"],
    "checkers": ["1.1.1", ".1.1.", "1.1.1", ".1.1."],
    "all": ["11", "11"],
    "gaps in numbers": ["1.9", "..9"],
}


def drawn(rows: list[str]) -> Labels:
    return np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.int32)


class Canvas:
    """Fills rings by the even-odd rule, at the centres of pixels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.inside = np.zeros(shape, np.bool_)

    def fill(self, ring: Any) -> None:
        """ring: (n, 2), (x, y), open or closed, with edges along the axes."""
        corners = np.asarray(ring)
        for (x, y), (other_x, other_y) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            assert x == other_x or y == other_y, "an edge is not along a pixel's"
            low, high = sorted((int(y), int(other_y)))
            self.inside[low:high, int(x) :] ^= True


def rasterised(rings: list[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    canvas = Canvas(shape)
    for ring in rings:
        canvas.fill(ring)
    return canvas.inside


def lattice(ring: NDArray[Any]) -> list[tuple[int, int]]:
    """All corners of pixels that a ring passes."""
    passed = []
    for one, other in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        steps = int(np.abs(other - one).sum())
        passed += [tuple((one + (other - one) * step // steps).tolist()) for step in range(steps)]
    return passed


def area(ring: NDArray[Any]) -> float:
    """Signed area of (n, 2), (x, y): above 0 for what GeoJSON calls counterclockwise."""
    x, y = ring.T.astype(float)
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


LABELS = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3)
)


def each_shape(test: Any) -> Any:
    for rows in SHAPES.values():
        test = example(labels=drawn(rows))(test)
    return test


@settings(max_examples=300, deadline=None)
@each_shape
@given(labels=LABELS)
def test_outlines_hold_the_pixels_of_their_cells_and_no_other(labels: Labels) -> None:
    found = np.zeros_like(labels)
    numbers = []
    for outline in trace(labels):
        numbers.append(outline.label)
        rings = [ring[:, ::-1] for polygon in outline.polygons for ring in polygon]
        found[rasterised(rings, labels.shape)] = outline.label
    np.testing.assert_array_equal(found, labels)
    assert numbers == np.unique(labels[labels > 0]).tolist()


@settings(max_examples=300, deadline=None)
@each_shape
@given(labels=LABELS)
def test_polygons_are_valid_as_simple_features_define_it(labels: Labels) -> None:
    for outline in trace(labels):
        for outer, *holes in outline.polygons:
            rings = [ring[:, ::-1] for ring in (outer, *holes)]
            assert area(rings[0]) > 0
            assert all(area(ring) < 0 for ring in rings[1:])
            for ring in rings:
                passed = lattice(ring)
                assert len(set(passed)) == len(passed), "a ring touches itself"
                steps = np.sign(np.roll(ring, -1, axis=0) - ring)
                assert (steps != np.roll(steps, 1, axis=0)).any(axis=1).all(), "needless corner"
            filled = rasterised(rings[:1], labels.shape)
            for ring in rings[1:]:
                hole = rasterised([ring], labels.shape)
                assert (filled & hole == hole).all(), "a hole is outside, or two overlap"
                filled &= ~hole
            assert ndimage.label(filled)[1] == 1, "a polygon's inside falls apart"


@settings(max_examples=100, deadline=None)
@each_shape
@given(labels=LABELS)
def test_fijis_regions_hold_the_pixels_of_their_cells(labels: Labels) -> None:
    with zipfile.ZipFile(io.BytesIO(cell_rois(trace(labels)))) as archive:
        found = np.zeros_like(labels)
        for name in archive.namelist():
            roi = ImagejRoi.frombytes(archive.read(name))
            assert name == f"{roi.name}.roi"
            rings = pieces(roi)
            inside = rasterised(rings, labels.shape)
            found[inside] = int(roi.name)
            y, x = np.nonzero(inside)
            assert (roi.top, roi.left) == (y.min(), x.min())
            assert (roi.bottom, roi.right) == (y.max() + 1, x.max() + 1)
    np.testing.assert_array_equal(found, labels)


def pieces(roi: ImagejRoi) -> list[Any]:
    """The rings of a region, by roifile's own reading of it."""
    if roi.roitype == ROI_TYPE.TRACED:
        return [roi.coordinates()]
    assert roi.composite
    rings = roi.coordinates(multi=True)
    assert all((ring == ring.round()).all() for ring in rings)
    return list(rings)


@settings(max_examples=100, deadline=None)
@each_shape
@given(labels=LABELS)
def test_qupaths_polygons_hold_the_pixels_of_their_cells(labels: Labels) -> None:
    image = LabelImage(labels, mpp=0.5)
    table = measure_cells(image, labels * 10)
    collection = json.loads(cells_geojson(trace(labels), table))
    assert collection["type"] == "FeatureCollection"
    found = np.zeros_like(labels)
    for feature in collection["features"]:
        geometry, properties = feature["geometry"], feature["properties"]
        several = geometry["type"] == "MultiPolygon"
        polygons = geometry["coordinates"] if several else [geometry["coordinates"]]
        rings = [np.array(ring) for polygon in polygons for ring in polygon]
        assert all((ring[0] == ring[-1]).all() and len(ring) >= 5 for ring in rings)
        inside = rasterised([ring[:-1] for ring in rings], labels.shape)
        label = int(properties["name"])
        found[inside] = label
        assert properties["objectType"] == "detection"
        pixels = int(inside.sum())
        assert properties["measurements"]["Area px^2"] == pixels
        assert properties["measurements"]["Area µm^2"] == pixels / 4
        assert properties["measurements"]["Mean intensity"] == label * 10
    np.testing.assert_array_equal(found, labels)


@settings(max_examples=100, deadline=None)
@each_shape
@given(labels=LABELS)
def test_geojson_and_regions_are_what_json_and_roifile_write(labels: Labels) -> None:
    table = measure_cells(LabelImage(labels, mpp=0.3), np.sqrt(labels))
    outlines = trace(labels)
    text = cells_geojson(outlines, table).decode()
    features = [line.rstrip(",") for line in text.splitlines()[1:-1] if line]
    assert features == [json.dumps(json.loads(one), separators=(",", ":")) for one in features]
    assert len(json.loads(text)["features"]) == len(outlines) == len(table)
    for frame in (None, 4):
        for outline, (name, content) in zip(outlines, regions(outlines, frame=frame), strict=True):
            if [len(polygon) for polygon in outline.polygons] == [1]:
                roi = traced(outline.polygons[0][0])
                roi.name, roi.position = name, 0 if frame is None else frame + 1
                assert content == roi.tobytes()
            assert name == (f"{outline.label}" if frame is None else f"{outline.label}_frame_4")


def traced(ring: NDArray[Any]) -> ImagejRoi:
    top, left = ring.min(axis=0).tolist()
    bottom, right = ring.max(axis=0).tolist()
    roi = ImagejRoi(top=top, left=left, bottom=bottom, right=right, roitype=ROI_TYPE.TRACED)
    roi.n_coordinates, roi.integer_coordinates = len(ring), ring[:, ::-1] - (left, top)
    return roi


def test_a_ring_of_more_corners_than_16_bits_count_is_a_path() -> None:
    comb = np.zeros((3, 2 * 2**14 + 1), np.int32)
    comb[0] = 1
    comb[1:, ::2] = 1
    ((_, content),) = regions(trace(comb))
    assert ImagejRoi.frombytes(content).composite
    assert len(pieces(ImagejRoi.frombytes(content))[0]) >= 2**16


def test_corners_of_a_pixel_are_told_in_the_right_order() -> None:
    (outline,) = trace(drawn(["...", "..1"]))
    ((ring,),) = outline.polygons
    assert ring.tolist() == [[1, 2], [1, 3], [2, 3], [2, 2]]  # clockwise from the upper left


def test_a_hole_is_a_path_and_far_coordinates_survive() -> None:
    labels = np.zeros((3, 40_000), np.int32)
    labels[:, 39_990:39_993] = 5
    labels[1, 39_991] = 0
    labels[0, 39_999] = 6
    with zipfile.ZipFile(io.BytesIO(cell_rois(trace(labels)))) as archive:
        ring, pixel = (ImagejRoi.frombytes(archive.read(f"{n}.roi")) for n in (5, 6))
    assert (ring.roitype, ring.composite) == (ROI_TYPE.RECT, True)
    assert np.concatenate(pieces(ring)).max(axis=0).tolist() == [39_993, 3]
    assert pieces(pixel)[0].max(axis=0).tolist() == [40_000, 1]


def test_regions_of_a_movie_show_on_their_frame(tmp_path: Path) -> None:
    target = tmp_path / "a_rois.zip"
    with RoiZip(target) as rois:
        for frame in range(2):
            rois.add_all(trace(drawn(["1.2"])), frame=frame)
    read = ImagejRoi.fromfile(target)
    assert isinstance(read, list)
    assert [(roi.name, roi.position) for roi in read] == [
        ("1_frame_0", 1),
        ("2_frame_0", 1),
        ("1_frame_1", 2),
        ("2_frame_1", 2),
    ]


def test_equal_labels_give_equal_bytes() -> None:
    labels = drawn(SHAPES["rings in rings"])
    assert cell_rois(trace(labels)) == cell_rois(trace(labels.copy()))


def test_points_are_where_each_program_has_the_centres_of_pixels() -> None:
    positions = np.array([[0.0, 2.0], [1.25, 3.5]])
    roi = ImagejRoi.frombytes(spot_roi(positions, frames=np.array([0, 4])))
    assert roi.roitype == ROI_TYPE.POINT
    assert np.array(roi.coordinates()).tolist() == [[2, 0], [3.5, 1.25]]
    assert roi.counter_positions is not None
    assert roi.counter_positions.tolist() == [1, 5]
    grouped = ImagejRoi.frombytes(spot_roi(positions, groups=np.array([0, 1])))
    assert grouped.counters is not None
    assert grouped.counters.tolist() == [0, 1]
    points = json.loads(spots_geojson(positions, {"Intensity": np.array([7.0, 8.0])}))["features"]
    assert [point["geometry"]["coordinates"] for point in points] == [[2.5, 0.5], [4.0, 1.75]]
    assert points[1]["properties"]["measurements"] == {"Intensity": 8.0}


def test_a_movie_has_no_outline() -> None:
    with pytest.raises(InvalidAxes, match="no plane"):
        list(trace(np.zeros((2, 3, 3), np.int32)))
