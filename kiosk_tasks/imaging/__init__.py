"""Pure image arrays: nothing here knows of queues, buckets or servers; only `io` reads bytes.

Coordinates are (y, x), row first, with the origin at the centre of pixel (0, 0). Axes are letters
in the order T Z Y X C (`B` is a batch of unrelated images). `mpp` is micrometres per pixel.
"""
