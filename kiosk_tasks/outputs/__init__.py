"""What a finished job leaves: files made of its result, packed into one archive."""

from kiosk_tasks.outputs import segmentation as _segmentation  # noqa: F401  # registers its files
from kiosk_tasks.outputs import spots as _spots  # noqa: F401  # registers its files
from kiosk_tasks.outputs.files import OutputFile, output_files
from kiosk_tasks.outputs.names import numbered, output_folder, parts_folder, stem_of
from kiosk_tasks.outputs.packed import Packed, packed_files
from kiosk_tasks.outputs.packing import fetch_result, pack, place_in

__all__ = [
    "OutputFile",
    "Packed",
    "fetch_result",
    "numbered",
    "output_files",
    "output_folder",
    "pack",
    "packed_files",
    "parts_folder",
    "place_in",
    "stem_of",
]
