"""A form made of the JSON Schema of a job type's parameters: units, ranges, choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QLineEdit, QWidget

from kiosk_tasks.client import CannotSend

__all__ = ["ParameterForm"]

_SHRINKS = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
_ELSEWHERE = ("axes",)
"""Parameters that the panel asks for itself."""


class ParameterForm(QWidget):
    """The parameters of one job type; what is left as it is, is not sent."""

    def __init__(self, schema: Mapping[str, Any], parent: QWidget | None = None) -> None:
        """schema: as the server describes the job type."""
        super().__init__(parent)
        self.fields: dict[str, Field] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        more = QGroupBox("More", self)
        more.setCheckable(True)
        more.setChecked(False)
        box = QWidget(more)
        inner = QFormLayout(box)
        QFormLayout(more).addRow(box)
        box.setVisible(False)
        more.toggled.connect(box.setVisible)
        for name, described in schema.get("properties", {}).items():
            if name in _ELSEWHERE:
                continue
            field = self.fields[name] = Field(name, described)
            target = inner if described.get("x-group") == "advanced" else layout
            target.addRow(field.label, field.widget)
        layout.addRow(more)
        more.setVisible(inner.rowCount() > 0)

    def values(self) -> dict[str, Any]:
        """Return what was entered; raises CannotSend with a sentence that names the parameter."""
        found = {name: field.value() for name, field in self.fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Field:
    """One parameter: a label with its unit, a widget, and the check of what was entered."""

    def __init__(self, name: str, described: Mapping[str, Any]) -> None:
        """described: the parameter's JSON Schema."""
        self.name = name
        self._schema = described
        self.title = str(described.get("title") or name)
        unit = described.get("x-unit")
        self.label = f"{self.title} ({unit})" if unit else self.title
        self.widget = self._made()
        self.widget.setToolTip(str(described.get("description") or ""))
        self.widget.setAccessibleName(self.label)

    def value(self) -> Any:
        """Return what was entered; None for what the server would take anyway."""
        default = self._schema.get("default")
        if isinstance(self.widget, QCheckBox):
            found: Any = self.widget.isChecked()
        elif isinstance(self.widget, QComboBox):
            found = self.widget.currentData()
        else:
            assert isinstance(self.widget, QLineEdit)  # noqa: S101  # as it was made
            found = self._parsed(self.widget.text().strip())
        return None if found == default else found

    def set(self, value: Any) -> None:
        """Enter a value; None empties a line."""
        if isinstance(self.widget, QCheckBox):
            self.widget.setChecked(bool(value))
        elif isinstance(self.widget, QComboBox):
            self.widget.setCurrentIndex(max(0, self.widget.findData(value)))
        elif isinstance(self.widget, QLineEdit):
            self.widget.setText("" if value is None else str(value))

    def _made(self) -> QWidget:
        choices = self._schema.get("enum")
        if self._schema.get("type") == "boolean":
            box = QCheckBox()
            box.setChecked(bool(self._schema.get("default")))
            return box
        if choices:
            combo = QComboBox()
            combo.setMinimumContentsLength(8)
            combo.setSizeAdjustPolicy(_SHRINKS)
            if "default" not in self._schema:
                combo.addItem("", None)
            words = self._schema.get("x-enum-labels") or choices
            for value, word in zip(choices, words, strict=True):
                combo.addItem(str(word), value)
            combo.setCurrentIndex(max(0, combo.findData(self._schema.get("default"))))
            return combo
        line = QLineEdit()
        default = self._schema.get("default")
        line.setPlaceholderText(self._range() if default is None else f"{default}")
        return line

    def _range(self) -> str:
        """Return the range in words: "2.4 to 240", "above 0"."""
        low, high = self._schema.get("minimum"), self._schema.get("maximum")
        above, below = self._schema.get("exclusiveMinimum"), self._schema.get("exclusiveMaximum")
        words = [
            "" if above is None else f"above {above:g}",
            "" if low is None else (f"{low:g}" if high is not None else f"{low:g} or more"),
            "" if high is None else (f"to {high:g}" if (low, above) != (None, None) else
                                     f"up to {high:g}"),
            "" if below is None else f"below {below:g}",
        ]  # fmt: skip
        return " ".join(filter(None, words))

    def _parsed(self, text: str) -> Any:
        """Return the text as the schema wants it; raises CannotSend."""
        if not text:
            return None
        kind = self._schema.get("type")
        if kind not in ("number", "integer"):
            pattern = self._schema.get("pattern")
            if pattern and not re.search(pattern, text):
                raise CannotSend(f"{self.title}: {text!r} is not of the form that is needed.")
            return text
        try:
            number = int(text) if kind == "integer" else float(text.replace(",", "."))
        except ValueError:
            word = "a whole number" if kind == "integer" else "a number"
            raise CannotSend(f"{self.title}: {text!r} is not {word}.") from None
        if not self._fits(number):
            raise CannotSend(f"{self.title}: {text} is out of range; it must be {self._range()}.")
        return number

    def _fits(self, number: float) -> bool:
        schema = self._schema
        return bool(
            schema.get("minimum", number) <= number <= schema.get("maximum", number)
            and number > schema.get("exclusiveMinimum", number - 1)
            and number < schema.get("exclusiveMaximum", number + 1)
        )
