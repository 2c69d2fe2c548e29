"""The images: what each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["IMAGES", "ROOT", "Image"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Image:
    """One image.

    messages_only: of TensorFlow there are only the modules of its messages.
    programs: console scripts, by name: module and function.
    unused: what this image does without, as patterns below its library folder.
    """

    name: str
    messages_only: bool
    programs: tuple[tuple[str, str, str], ...]
    unused: tuple[str, ...] = ()

    @property
    def requirements(self) -> Path:
        """Its hashed requirements."""
        return ROOT / "requirements" / f"{self.name}.txt"


_CELERY = ("celery", "celery.__main__", "main")
_KIOSK = ("kiosk", "kiosk_tasks.cli", "main")
_WEIGHTS = ("kiosk_tasks/serving/models/*/*/variables",)  # names are told by the rest

IMAGES = {
    image.name: image
    for image in (
        Image("worker", messages_only=True, programs=(_CELERY,), unused=_WEIGHTS),
        # with the models: `kiosk fetch-models` brings them to a server of its own
        Image("web", messages_only=True, programs=(_CELERY, _KIOSK)),
        Image(
            "modelserver",
            messages_only=False,
            programs=(),
            # headers to build operators with, what reads them, and packers of packages
            unused=(
                *("tensorflow/include", "clang", "libclang-*"),
                *("setuptools", "setuptools-*", "pkg_resources", "_distutils_hack", "*.pth"),
                *("wheel", "wheel-*"),
            ),
        ),
    )
}
