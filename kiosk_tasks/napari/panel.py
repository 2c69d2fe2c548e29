"""The panel in napari: a server, a job type, its parameters, and a button."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from napari.layers import Image, Layer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import QSettings, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from kiosk_tasks.client import Client, Job, KioskClientError, State
from kiosk_tasks.client.address import find_address
from kiosk_tasks.napari.form import ParameterForm
from kiosk_tasks.napari.receiving import LayerData
from kiosk_tasks.napari.sending import axes_choices, guess_axes, pixel_size, sending
from kiosk_tasks.napari.work import Offer, Outcome, load_job_types, run_job

__all__ = ["KioskPanel"]

_LOCAL = "http://127.0.0.1:8000"
_NARROWEST = 340  # px; the names of parameters and their values fit


class KioskPanel(QWidget):
    """Sends the chosen image layers to a Kiosk and adds what it finds as layers.

    All that takes time runs in a thread; the viewer goes on. One job runs at a time.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        """Made by napari; asks the server for its job types when the panel is shown."""
        super().__init__()
        self.viewer = napari_viewer
        self.job: Job | None = None
        self.job_types: dict[str, dict[str, Any]] = {}
        self.form: ParameterForm | None = None
        self._chosen: list[Any] = []
        self._build()
        selection = napari_viewer.layers.selection
        selection.events.changed.connect(self._layer_chosen)
        selection.events.active.connect(self._layer_chosen)
        self._layer_chosen()

    def connect_to_server(self) -> None:
        """Ask the server which job types it has."""
        self.status.setText("asking the server …")
        self._start(load_job_types, self._offered, self._connection())

    def send(self) -> None:
        """Send the chosen layers, with the parameters of the form."""
        try:
            image = sending(self._images(), self.axes.currentText())
            params = self.form.values() if self.form is not None else {}
        except KioskClientError as error:
            self._problem(str(error))
            return
        self._busy(True)
        name = str(self.type_box.currentData() or "")
        worker = self._start(
            run_job, self._ended, self._connection(), name, image, params, self._submitted
        )
        worker.yielded.connect(self._progress)

    def cancel(self) -> None:
        """End the job on the server; layers come from no job that was cancelled."""
        if self.job is not None:
            self.cancel_button.setEnabled(False)
            self._start(_cancelled, lambda _: None, self.job)

    def _submitted(self, job: Job) -> None:
        self.job = job  # from the thread: an assignment, no Qt

    def _connection(self) -> partial[Client]:
        QSettings("kiosk-tasks", "napari").setValue("url", _without_token(self.url.text()))
        return partial(Client, self.url.text() or None, self.token.text() or None)

    def _start(self, work: Any, returned: Any, *arguments: Any) -> Any:
        worker = create_worker(work, *arguments)
        worker.returned.connect(returned)
        worker.errored.connect(lambda _: self._busy(False))
        worker.start()
        return worker

    def _offered(self, offer: Offer) -> None:
        if offer.problem:
            self._problem(offer.problem)
            return
        self.job_types = offer.job_types
        self.type_box.clear()
        for name, told in self.job_types.items():
            self.type_box.addItem(f"{told['title']} ({name})", name)
        self.status.setText(f"{len(self.job_types)} job types")
        index = self.type_box.findData("predict")
        self.type_box.setCurrentIndex(max(0, index))
        self.send_button.setEnabled(bool(self.job_types))

    def _type_chosen(self) -> None:
        name = self.type_box.currentData()
        if name not in self.job_types:
            return
        self.form = ParameterForm(self.job_types[name]["schema"])
        self.area.setWidget(self.form)
        self._layer_chosen()

    def _layer_chosen(self, _event: Any = None) -> None:
        images = self._images()
        self.axes.clear()
        if not images:
            self.layer_label.setText("choose an image layer")
            return
        first = images[0]
        names = ", ".join(layer.name for layer in images)
        self.layer_label.setText(names if len(images) == 1 else f"{names} as channels")
        self.axes.addItems(["", *axes_choices(first.ndim, rgb=first.rgb)])
        guessed = guess_axes(first, str(self.type_box.currentData() or ""))
        self.axes.setCurrentIndex(max(0, self.axes.findText(guessed)))
        if self.form is not None and "mpp" in self.form.fields:
            mpp = pixel_size(first)
            self.form.fields["mpp"].set(None if mpp is None else f"{mpp:.6g}")

    def _images(self) -> list[Any]:
        """Return the image layers that were chosen last, in the order of the list.

        A layer of results that is chosen, as napari does when it is added, changes nothing.
        """
        layers, selection = list(self.viewer.layers), self.viewer.layers.selection
        chosen = [layer for layer in layers if layer in selection and isinstance(layer, Image)]
        self._chosen = chosen or [layer for layer in self._chosen if layer in layers]
        return self._chosen

    def _progress(self, state: State) -> None:
        units = "" if state.units is None else f", {state.units[0]} of {state.units[1]}"
        self.bar.setValue(state.progress)
        self.status.setText("fetching the result …" if state.done else f"{state.status}{units}")
        self.cancel_button.setEnabled(not state.ended)

    def _ended(self, outcome: Outcome) -> None:
        self._busy(False)
        if outcome.cancelled:
            self.status.setText("cancelled")
            show_info(outcome.problem)
        elif outcome.problem:
            self._problem(outcome.problem)
        else:
            for layer in outcome.layers:
                self._add(layer)
            self.status.setText("done")

    def _add(self, found: LayerData) -> None:
        data, keywords, kind = found
        self.viewer.add_layer(Layer.create(data, keywords, kind))

    def _problem(self, sentence: str) -> None:
        self.status.setText(sentence)
        show_error(sentence)

    def _busy(self, busy: bool) -> None:
        self.send_button.setEnabled(not busy and bool(self.job_types))
        self.cancel_button.setEnabled(False)
        self.bar.setVisible(busy)
        self.bar.setValue(0)
        if not busy:
            self.job = None

    def _build(self) -> None:
        self.url = QLineEdit(_first_url())
        self.token = QLineEdit(os.environ.get("KIOSK_TOKEN", ""))
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("none needed, or ask your operator")
        self.connect_button = QPushButton("Connect")
        self.connect_button.clicked.connect(self.connect_to_server)
        self.type_box, self.axes = QComboBox(), QComboBox()
        self.type_box.currentIndexChanged.connect(self._type_chosen)
        self.axes.setToolTip("T frames, Z planes, C channels, B unrelated images")
        self.layer_label = QLabel()
        self.layer_label.setWordWrap(True)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(_NARROWEST)
        self.send_button, self.cancel_button = QPushButton("Send"), QPushButton("Cancel")
        self.send_button.setEnabled(False)
        self.cancel_button.setEnabled(False)
        self.send_button.clicked.connect(self.send)
        self.cancel_button.clicked.connect(self.cancel)
        self.bar, self.status = QProgressBar(), QLabel("not connected")
        self.bar.setVisible(False)
        self.status.setWordWrap(True)
        rows = QFormLayout()
        rows.addRow("Server", self.url)
        rows.addRow("Token", self.token)
        rows.addRow(self.connect_button)
        rows.addRow("What to do", self.type_box)
        rows.addRow("Layer", self.layer_label)
        rows.addRow("Axes", self.axes)
        buttons = QHBoxLayout()
        buttons.addWidget(self.send_button)
        buttons.addWidget(self.cancel_button)
        whole = QVBoxLayout(self)
        whole.addLayout(rows)
        whole.addWidget(self.area)
        whole.addLayout(buttons)
        whole.addWidget(self.bar)
        whole.addWidget(self.status)


def _first_url() -> str:
    """Return the server that was used last, else the one that `Client()` would take."""
    last = QSettings("kiosk-tasks", "napari").value("url", "")
    if last:
        return str(last)
    try:
        return find_address().url
    except KioskClientError:
        return _LOCAL


def _without_token(url: str) -> str:
    """Return an address to be remembered: whoever logs in there, and with what, is left out."""
    start, mark, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{start}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _cancelled(job: Job) -> str:
    """Cancel a job; its own thread sees the end."""
    try:
        job.cancel()
    except KioskClientError as error:
        return str(error)
    return ""
