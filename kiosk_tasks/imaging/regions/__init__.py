"""Images of any size, read region by region from a bucket: TIFF and OME-Zarr.

values.py       what is known of such an image, and what reads it
looking.py      which files can be read so, by their headers; and reading a small one whole
spans.py        fetching: what lies side by side at once, a few requests at a time
chunks.py       from chunks to the region that is asked for
remote_file.py  a file of a bucket, as tifffile wants it
tiff.py         TIFF files
"""

from kiosk_tasks.imaging.regions.looking import look_at, open_regions, read_whole
from kiosk_tasks.imaging.regions.values import Files, RegionImage, RegionReader

__all__ = ["Files", "RegionImage", "RegionReader", "look_at", "open_regions", "read_whole"]
