"""Which truth and which result belong to which image: by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.outputs import stem_of

__all__ = ["Kind", "Pair", "Parts", "base_of", "find_truths", "pair"]

_WORDS = re.compile(
    r"[_-](ground[_-]?truth|truth|gt|cp[_-]masks?|masks?|labels?|annotations?|spots|tracked|"
    r"(man|res)[_-]track|truth[_-]tracks?)$",
    re.IGNORECASE,
)
_TABLES = (".csv", ".txt")


@dataclass(frozen=True)
class Kind:
    """What a result and a truth are of.

    name: "cells", "tracks" or "spots".
    results: endings of the result's file, tried in this order.
    truths: endings of files that may be a truth, lower-case.
    folders: whether a folder may be a truth: names of files, one of which is in it.
    """

    name: str
    results: tuple[str, ...]
    truths: tuple[str, ...]
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A result and its truth.

    name: what to call them. truth: a file or, for tracks, a folder. part: what of the image it is,
    for example "nuclear"; empty for an image that has no parts.
    """

    name: str
    truth: Path
    result: Path
    part: str = ""


Parts = dict[str, Path]
"""Files of one image by what their names say beyond the image's: "" or for example "nuclear"."""


def base_of(name: str) -> str:
    """Return a name without extensions and without words like `_truth` and `_masks`."""
    base = stem_of(name)
    for ending in _TABLES:
        base = base.removesuffix(ending)
    return _WORDS.sub("", base)


def find_truths(stems: Mapping[str, Path], truth: Path, kind: Kind) -> dict[str, Parts]:
    """Return the truths of each image that has any, by the image's stem.

    stems: images by the stem that results are named after. truth: a file or a folder.
    A truth is named like its image, with a word like `_truth` or `_masks` after it or not, and
    with the part of the image that it shows, for example `x_nuclear_truth.tif`. One image and one
    truth belong together, whatever they are called.
    Raises InvalidParameter if there is no truth at all, or two for the same.
    """
    files = _candidates(truth, kind, others=stems.values())
    if not files:
        looked_for = ", ".join((*kind.truths, *(f"a folder with {name}" for name in kind.folders)))
        raise InvalidParameter(f"{truth} has no truth of {kind.name} in it: {looked_for}.")
    if len(stems) == 1 and len(files) == 1:
        return {next(iter(stems)): {"": files[0]}}
    return _assigned([(base_of(_title(file, truth)), file) for file in files], stems)


def pair(
    stems: Sequence[str], truths: Mapping[str, Parts], folder: Path, kind: Kind
) -> tuple[list[Pair], list[str]]:
    """Return the pairs of results and truths, and a sentence for each image that has none.

    folder: where the results are.
    """
    results: dict[str, Parts] = {}
    for ending in reversed(kind.results):
        named = [(p.name.removesuffix(ending), p) for p in sorted(folder.glob(f"*{ending}"))]
        results |= _assigned(named, dict.fromkeys(stems, folder))
    pairs, problems = [], []
    for stem in stems:
        found, true = results.get(stem, {}), truths.get(stem, {})
        shared = [part for part in found if part in true]
        if len(found) == len(true) == 1:
            (result,), (truth,) = found.values(), true.values()
            pairs.append(Pair(stem, truth, result, *found))
        elif shared:
            pairs += [Pair(f"{stem}_{p}" if p else stem, true[p], found[p], p) for p in shared]
        elif not found:
            problems.append(f"{folder} has no {stem}{kind.results[0]}; it cannot be scored.")
        else:
            problems.append(
                f"{stem} has results for {_listed(found)} and a truth for {_listed(true)}; name "
                f"each truth after its result, for example {stem}_{max(found)}_truth.tif."
            )
    return pairs, problems


def _candidates(truth: Path, kind: Kind, *, others: Iterable[Path]) -> list[Path]:
    if not truth.exists():
        raise InvalidParameter(f"{truth} does not exist; give the file or folder of the truth.")
    if truth.is_file() or _is_truth_folder(truth, kind):
        return [truth]
    images = {path.resolve() for path in others if path.suffix not in (".trk", ".trks")}
    found = []
    for path in sorted(truth.iterdir()):
        if path.is_dir():
            inside = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
            found += [p for p in inside if _is_truth_folder(p, kind)][:1]
        elif path.name.lower().endswith(kind.truths) and path.resolve() not in images:
            found.append(path)
    return found


def _is_truth_folder(path: Path, kind: Kind) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in kind.folders)


def _title(file: Path, truth: Path) -> str:
    """Return the name that says whose truth it is: of a folder in a folder, the outer one's."""
    return file.relative_to(truth).parts[0] if file != truth else file.name


def _assigned(named: Sequence[tuple[str, Path]], stems: Mapping[str, Path]) -> dict[str, Parts]:
    """Give each file to the image with the longest stem that its name begins with."""
    given: dict[str, Parts] = {}
    for base, file in named:
        fits = [stem for stem in stems if base == stem or base.startswith((f"{stem}_", f"{stem}-"))]
        if not fits:
            continue
        stem = max(fits, key=len)
        parts, part = given.setdefault(stem, {}), base[len(stem) + 1 :]
        if part in parts:
            better = [f for f in (parts[part], file) if base_of(f.name) != stem_of(f.name)]
            if len(better) != 1:
                raise InvalidParameter(
                    f"{parts[part].name} and {file.name} both are a truth of {stem}; keep one."
                )
            file = better[0]
        parts[part] = file
    return given


def _listed(parts: Parts) -> str:
    return ", ".join(sorted(part or "the image" for part in parts)) or "nothing"
