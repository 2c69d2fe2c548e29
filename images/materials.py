"""The bill of materials of an image's packages, as CycloneDX JSON."""

from __future__ import annotations

from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from images.licences import licence_of, packages

__all__ = ["write_materials"]

OURS = "kiosk-tasks"


def write_materials(image: str, lib: Path, file: Path) -> None:
    """Write what a library folder holds; operating system and Python are the base image's own."""
    found = packages(lib)
    bom = Bom(components=[_component(one) for one in found if one.name != OURS])
    version = next(one.version for one in found if one.name == OURS)
    name = f"{OURS}/{image}"
    whole = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref=name)
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    file.write_text(JsonV1Dot6(bom).output_as_string(indent=1), encoding="utf-8")


def _component(one: Distribution) -> Component:
    url = PackageURL("pypi", name=one.name.lower().replace("_", "-"), version=one.version)
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=str(url),
        licenses=[LicenseFactory().make_from_string(licence_of(one))],
    )
