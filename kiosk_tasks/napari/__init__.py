"""The napari plugin: send the active layer to a Kiosk, get Labels, Tracks or Points back."""
