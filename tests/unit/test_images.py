"""What the images' builder decides: licences, messages, what is left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from images.bare import bare
from images.leave_out import leave_out
from images.licences import NotReviewed, licence_of, packages, write_licences
from images.messages import needed_messages
from images.plan import ROOT


def package(lib: Path, name: str, *fields: str) -> None:
    folder = lib / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *fields, ""]
    (folder / "METADATA").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        (["License-Expression: MIT OR GPL-3.0-only"], "MIT OR GPL-3.0-only"),
        (["License-Expression: BSD-3-Clause AND 0BSD"], "BSD-3-Clause AND 0BSD"),
        (["Classifier: License :: OSI Approved :: BSD License"], "LicenseRef-BSD"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: BSD-3-Clause", "Classifier: License :: OSI Approved"], "BSD-3-Clause"),
    ],
)
def test_permissive_licences_are_listed(tmp_path: Path, fields: list[str], licence: str) -> None:
    package(tmp_path / "lib", "some", *fields)
    (one,) = packages(tmp_path / "lib")
    assert licence_of(one) == licence
    write_licences(tmp_path / "lib", tmp_path / "licences.txt")
    assert f"some 1.0: {licence}\n" in (tmp_path / "licences.txt").read_text()


@pytest.mark.parametrize(
    "field",
    [
        "License-Expression: GPL-3.0-or-later",
        "License-Expression: MIT AND LGPL-2.1-only",
        "License: Free for everyone",
        "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "Summary: says nothing",
    ],
)
def test_other_terms_stop_the_build_until_someone_reads_them(tmp_path: Path, field: str) -> None:
    package(tmp_path / "lib", "some", field)
    with pytest.raises(NotReviewed, match=r"some \(.+\)\. Read the terms; .+ with the reason\."):
        write_licences(tmp_path / "lib", tmp_path / "licences.txt")


def test_a_review_holds_for_the_terms_that_were_read(tmp_path: Path) -> None:
    package(tmp_path / "old", "certifi", "License: MPL-2.0")
    write_licences(tmp_path / "old", tmp_path / "licences.txt")
    package(tmp_path / "new", "certifi", "License: GPL-3.0-only")
    with pytest.raises(NotReviewed, match="certifi"):
        write_licences(tmp_path / "new", tmp_path / "licences.txt")


def test_the_messages_are_those_that_a_process_loads() -> None:
    site = Path(sys.executable).parents[1] / "lib"
    (site,) = site.glob("python*/site-packages")
    needed = needed_messages(ROOT / "kiosk_tasks" / "serving" / "protos.py", [site])
    code = "import sys; import kiosk_tasks.serving.protos; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = [name for name in done.stdout.split() if name.startswith("tensorflow.")]
    modules = {name.replace(".", "/") + ".py" for name in loaded if name.endswith("_pb2")}
    assert modules
    assert {str(path) for path in needed} == modules


def test_a_message_that_is_nowhere_is_named(tmp_path: Path) -> None:
    protos = tmp_path / "protos.py"
    protos.write_text('x = _load("tensorflow.core.moved_pb2")\n')
    with pytest.raises(FileNotFoundError, match=r"tensorflow\.core\.moved_pb2 is in none of"):
        needed_messages(protos, [tmp_path])


def test_tests_and_sources_go_and_what_they_link_to_stays(tmp_path: Path) -> None:
    cache, lib = tmp_path / "cache", tmp_path / "lib"
    kept = ["numpy/testing/utils.py", "botocore/data/s3/x.json", "skimage/__init__.pyi"]
    gone = ["numpy/ma/tests/test_a.py", "botocore/data/ec2/x.json", "scipy/a.pyx", "bin/f2py"]
    for name in (*kept, *gone):
        for place in (cache, lib):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).touch()
        (lib / name).hardlink_to(cache / name)
    leave_out(lib)
    assert [name for name in (*kept, *gone) if (lib / name).exists()] == kept
    assert all((cache / name).exists() for name in gone)


def test_the_images_python_has_no_pip(tmp_path: Path) -> None:
    library = tmp_path / "lib" / "python3.11"
    gone = ["ensurepip/a", "site-packages/pip/a", "site-packages/pip-1.dist-info/a", "test/a"]
    for name in (*gone, "json/a", "site-packages/README.txt"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).touch()
    (tmp_path / "bin").mkdir()
    for name in ("pip3.11", "python3.11", "python3.11-config"):
        (tmp_path / "bin" / name).touch()
    bare(tmp_path, library)
    assert not any((library / name).exists() for name in gone)
    assert (library / "json" / "a").exists()
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["python3.11"]


def test_no_other_python_is_touched() -> None:
    run = [sys.executable, "-m", "images.bare"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not the image's at /usr/local" in done.stderr
