"""Train, export and score the default two-channel model of tissue: whole cells and nuclei.

Axes are (Y, X), (Y, X, channel) or (batch, Y, X, channel); channel 0 shows nuclei, channel 1
membranes. Lengths are in pixels of 0.5 µm; a diameter is that of the disc of equal area.
"""
