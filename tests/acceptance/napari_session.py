"""A person at napari, as a program: `python napari_session.py URL FOLDER` prints what they see.

In a process of its own, because napari's imports warn, and because Qt ends with its process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from napari.utils.notifications import notification_manager
from qtpy.QtCore import QSettings, QTimer
from qtpy.QtWidgets import QApplication

_LIMIT_S = 150.0


def until(question: Callable[[], Any], what: str) -> None:
    """Let Qt work until something is true."""
    end = time.monotonic() + _LIMIT_S
    while not question():
        QApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > end:
            raise SystemExit(f"did not come true: {what}; told {told()}")


def told() -> list[str]:
    return [f"{record.severity}: {record.message}" for record in notification_manager.records]


class Session:
    """A viewer with the panel in it, and what is done there."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1280, 800)
        _, self.panel = self.viewer.window.add_plugin_dock_widget("kiosk-tasks")
        self.ticks: list[float] = []
        self.clock = QTimer()
        self.clock.timeout.connect(lambda: self.ticks.append(time.monotonic()))
        self.clock.start(20)
        self.url = url

    def connect(self) -> list[str]:
        self.panel.url.setText(self.url.replace("://", "://ann:a-secret@"))
        self.panel.connect_button.click()
        until(lambda: self.panel.job_types, "job types")
        return sorted(self.panel.job_types)

    def connect_to_nobody(self) -> Callable[[], str]:
        """Ask a server that is not there; return what waits for the answer, which takes seconds."""
        there = self.panel.url.text()
        self.panel.url.setText("http://127.0.0.1:9")
        self.panel.connect_button.click()
        self.panel.url.setText(there)

        def answers() -> list[str]:
            return [one for one in told() if "127.0.0.1:9 (" in one]

        def answer() -> str:
            until(answers, "a server that is not there is told")
            return answers()[-1]

        return answer

    def do(self, type_name: str, *layers: Any, axes: str | None = None, **params: Any) -> None:
        self.choose(type_name, *layers)
        if axes is not None:
            self.panel.axes.setCurrentText(axes)
        for name, value in params.items():
            self.panel.form.fields[name].set(value)
        self.panel.send_button.click()

    def choose(self, type_name: str, *layers: Any) -> None:
        self.viewer.layers.selection = set(layers)
        self.panel.type_box.setCurrentIndex(self.panel.type_box.findData(type_name))
        QApplication.processEvents()

    def layers_of(self, type_name: str, *layers: Any, **more: Any) -> dict[str, Any]:
        """Run a job to its end; return the layers that it added."""
        before, self.ticks[:] = list(self.viewer.layers), [time.monotonic()]
        self.do(type_name, *layers, **more)
        busy = self.panel.bar.isVisible()
        until(
            lambda: self.panel.status.text().startswith("fetching") or self.idle(),
            f"{type_name} is done",
        )
        gaps = np.diff([*self.ticks, time.monotonic()])  # while others work
        until(self.idle, f"{type_name} has ended")
        added = [layer for layer in self.viewer.layers if layer not in before]
        return {
            "busy": busy,
            "ticks": len(gaps),
            "longest_gap": float(gaps.max()),
            "seconds": float(gaps.sum()),
            "layers": {layer.name: described(layer) for layer in added},
        }

    def idle(self) -> bool:
        return bool(self.panel.send_button.isEnabled())

    def shot(self, name: str, *shown: Any) -> None:
        """Take a picture of the window, with what was found in some layers."""
        for layer in self.viewer.layers:
            layer.visible = any(layer.name.startswith(one.name) for one in shown)
        extent = shown[0].extent.world[:, -2:]
        self.viewer.camera.center = (0.0, *extent.mean(axis=0))
        self.viewer.camera.zoom = 580.0 / float(np.ptp(extent, axis=0).max())
        for _ in range(20):
            QApplication.processEvents()
        path = str(self.folder / f"{name}.png")
        self.viewer.screenshot(path, canvas_only=False, flash=False)


def described(layer: Any) -> dict[str, Any]:
    found = {
        "kind": type(layer).__name__,
        "shape": list(np.shape(layer.data)),
        "scale": [float(s) for s in layer.scale],
        "translate": [float(t) for t in layer.translate],
        "features": sorted(layer.features.columns),
    }
    if found["kind"] == "Labels":
        found |= {"dtype": str(layer.data.dtype), "count": int(layer.data.max())}
    if found["kind"] == "Tracks":
        found["graph"] = {str(child): list(map(int, p)) for child, p in layer.graph.items()}
        found["tracks"] = len(np.unique(layer.data[:, 0]))
    return found


def main(url: str, folder: Path) -> dict[str, Any]:
    session = Session(url, folder)
    viewer, seen = session.viewer, {"types": session.connect()}
    seen["remembered"] = QSettings("kiosk-tasks", "napari").value("url")
    pixels = {
        name: np.load(folder / f"{name}.npy") for name in ("nuclei", "movie", "spots", "tissue")
    }

    nuclei = viewer.add_image(pixels["nuclei"], name="nuclei", scale=(0.5, 0.5), translate=(10, 20))
    session.choose("predict", nuclei)
    form = session.panel.form
    seen["form"] = {
        "labels": [field.label for field in form.fields.values()],
        "ranges": {n: f.widget.placeholderText() for n, f in form.fields.items()
                   if hasattr(f.widget, "placeholderText")},
        "mpp": form.fields["mpp"].widget.text(),
    }  # fmt: skip
    seen["predict"] = session.layers_of("predict", nuclei, mpp="")
    session.shot("segmented", nuclei)

    movie = viewer.add_image(pixels["movie"], name="movie", scale=(1, 0.65, 0.65))
    seen["track"] = session.layers_of("track", movie)
    viewer.dims.set_point(0, 6)
    session.shot("tracked", movie)
    dots = viewer.add_image(pixels["spots"], name="dots", translate=(3, 4))
    seen["spot"] = session.layers_of("spot", dots, diameter="3")
    session.shot("spots", dots)
    parts = [viewer.add_image(pixels["tissue"][..., n], name=f"channel {n}") for n in (0, 1)]
    seen["mesmer"] = session.layers_of("mesmer", *parts, mpp="0.5", compartment="both")

    stack = viewer.add_image(np.stack([pixels["nuclei"]] * 2), name="stack")
    count, before = len(told()), len(viewer.layers)
    session.do("predict", stack)
    until(lambda: len(told()) > count, "doubt about axes is told")
    seen["doubt"] = told()[-1]
    refused = session.connect_to_nobody()
    seen["stack"] = session.layers_of("predict", stack, axes="ZYX")
    seen["refused"] = refused()

    session.do("predict", nuclei, diameter="1000")
    seen["range"] = told()[-1]
    count = len(told())
    session.do(
        "predict", viewer.add_image(np.full((64, 64), 7, np.uint8), name="flat"), diameter=""
    )
    until(lambda: len(told()) > count, "a failure is told")
    seen["failed"] = told()[-1]

    count, before = len(told()), len(viewer.layers)
    session.do("track", viewer.add_image(np.tile(pixels["movie"], (20, 1, 1)), name="long"))
    until(session.panel.cancel_button.isEnabled, "the job can be cancelled")
    session.panel.cancel_button.click()
    until(session.idle, "the job is cancelled")  # its state says so before the panel is told
    seen["cancelled"] = {
        "status": session.panel.status.text(),
        "told": told()[count:],
        "added": len(viewer.layers) - before - 1,
    }
    viewer.close()
    return seen


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(main(sys.argv[1], Path(sys.argv[2]))) + "\n")
    sys.stdout.flush()
