"""Label images as OME-TIFF."""

from __future__ import annotations

import io

from tifffile import imwrite

from kiosk_tasks.imaging.labels import LabelImage

__all__ = ["write_labels"]

_LARGE = 2048  # px; from this side on the file is tiled, so that viewers read parts of it
_TILE = (512, 512)


def write_labels(labels: LabelImage) -> bytes:
    """Encode a label image as OME-TIFF: int32, deflate, with axes and pixel size.

    Equal label images give equal bytes: there is no date, no UUID and no program version in them.
    `read` gives the same labels, axes and pixel size back.
    """
    buffer = io.BytesIO()
    large = max(labels.data.shape[-2:]) >= _LARGE
    density = None if labels.mpp is None else (1e4 / labels.mpp, 1e4 / labels.mpp)
    imwrite(
        buffer,
        labels.data,
        photometric="minisblack",
        compression="zlib",
        tile=_TILE if large else None,
        description=_ome_xml(labels).encode(),
        metadata=None,
        software="kiosk-tasks",
        resolution=density,
        resolutionunit=None if density is None else "CENTIMETER",
    )
    return buffer.getvalue()


def _ome_xml(labels: LabelImage) -> str:
    height, width = labels.data.shape[-2:]
    frames = labels.data.shape[0] if labels.axes == "TYX" else 1
    physical = ""
    if labels.mpp is not None:
        size = f"{labels.mpp:.9g}"
        physical = "".join(
            f' PhysicalSize{axis}="{size}" PhysicalSize{axis}Unit="µm"' for axis in "XY"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06 '
        'http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd" Creator="kiosk-tasks">'
        '<Image ID="Image:0" Name="labels">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="int32" SizeX="{width}" '
        f'SizeY="{height}" SizeC="1" SizeZ="1" SizeT="{frames}"{physical}>'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f'<TiffData IFD="0" PlaneCount="{frames}"/>'
        "</Pixels></Image></OME>"
    )
