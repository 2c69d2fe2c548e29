"""The licences of what an image holds: each permissive, or on a list of those that were looked at.

What a package says of itself: an SPDX expression, else its classifiers, else a line of text. Shared
libraries that a wheel brings along are listed by name; what is known of them stands below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from license_expression import Licensing

__all__ = ["NotReviewed", "licence_of", "packages", "write_licences"]

PERMISSIVE = frozenset(
    (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "HPND", "ISC"),
        *("LicenseRef-BSD", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib"),
    )
)
REVIEWED: Mapping[str, tuple[str, str]] = {
    "certifi": ("MPL-2.0", "a list of certificates; who changes that file publishes the change"),
    "namex": ("unknown", "Apache-2.0 says the LICENSE in its wheel"),
}
"""Package: its licence, and why it may come along."""

BUNDLED: Mapping[str, str] = {
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1: programs that use it stay free",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1: programs that use it stay free",
    "libquadmath": "LGPL-2.1-or-later: a shared library, which anyone may replace",
}
"""Shared libraries in wheels that are not permissive."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "LicenseRef-BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_TEXTS = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "bsd": "LicenseRef-BSD",
    "bsd license": "LicenseRef-BSD",
    "new bsd": "BSD-3-Clause",
}
_spdx = Licensing()


class NotReviewed(Exception):
    """A package comes under terms that nobody has looked at."""


def packages(lib: Path) -> list[Distribution]:
    """Return the packages of a library folder by name."""
    return sorted(distributions(path=[str(lib)]), key=lambda one: one.name.lower())


def licence_of(metadata: Distribution) -> str:
    """Return what a package says of its licence, as an SPDX expression if it can be read so."""
    fields: Any = metadata.metadata  # a mapping, whatever its type says
    if "License-Expression" in fields:
        return str(fields["License-Expression"])
    ends = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier", []) if c[:7] == "License"]
    known = [_CLASSIFIERS.get(end, end) for end in ends if end != "OSI Approved"]
    if known:
        return " AND ".join(sorted(set(known)))
    line = str(fields.get("License", "")).partition("\n")[0].strip()
    return _TEXTS.get(line.lower(), line) or "unknown"


def write_licences(lib: Path, file: Path) -> None:
    """Write each package, its version and its licence; raises NotReviewed for one that is not."""
    found = [(one.name, one.version, licence_of(one)) for one in packages(lib)]
    _check((name, licence) for name, _, licence in found)
    lines = [f"{name} {version}: {licence}{_why(name)}" for name, version, licence in found]
    bundled = sorted({path.name.partition("-")[0] for path in lib.glob("*.libs/*.so*")})
    lines += ["", "Shared libraries that came with them:"]
    lines += [f"{name}{_bundled(name)}" for name in bundled]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _check(found: Iterable[tuple[str, str]]) -> None:
    bad = [
        f"{name} ({licence})"
        for name, licence in found
        if not _permissive(licence) and REVIEWED.get(name, ("",))[0] != licence
    ]
    if bad:
        raise NotReviewed(
            f"not permissive, and not reviewed: {', '.join(bad)}. Read the terms; if they allow "
            "it, add the package to REVIEWED in images/licences.py, with the reason."
        )


def _permissive(licence: str) -> bool:
    """Tell whether one alternative of the expression asks for nothing but its notice."""
    if licence in PERMISSIVE:
        return True
    try:
        parsed = _spdx.parse(licence, simple=True)
    except Exception:  # a text, and no expression
        return False
    allowed = {str(key): _spdx.TRUE for key in _spdx.license_keys(parsed) if key in PERMISSIVE}
    if not allowed:
        return False
    symbols = {symbol: _spdx.TRUE for symbol in parsed.symbols if symbol.key in allowed}
    return bool(parsed.subs(symbols).simplify() == _spdx.TRUE)


def _why(name: str) -> str:
    return f" -- {REVIEWED[name][1]}" if name in REVIEWED else ""


def _bundled(name: str) -> str:
    return next((f": {terms}" for start, terms in BUNDLED.items() if name.startswith(start)), "")
