"""Train, export and score the default nuclear segmentation model.

Axes are (Y, X) or (batch, Y, X, channel); lengths and diameters are in pixels. A diameter is
that of the disc of equal area.
"""
