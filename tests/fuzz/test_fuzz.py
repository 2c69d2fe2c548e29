"""The size of fuzzing that runs with every test: the same files each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import READERS, seeds
from tests.fuzz.targets import run_reader

CASES = Path(__file__).parent / "cases"
FILES = 600


@pytest.mark.parametrize("reader", READERS)
def test_seeds_are_sound_or_refused(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    outcomes = []
    for content in seeds(reader):
        path.write_bytes(content)
        outcomes.append(run_reader(reader, path))
    assert outcomes.count("read") >= 2


@pytest.mark.parametrize("reader", READERS)
def test_mutations(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    for number in range(FILES):
        path.write_bytes(mutated(seeds(reader), number))
        assert run_reader(reader, path)


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.glob("[!.]*")))
def test_what_was_found_before(case: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes((CASES / case).read_bytes())
    assert run_reader(case.rpartition(".")[2], path)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_bytes_after_a_sound_start(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    reader = data.draw(st.sampled_from(READERS))
    seed = data.draw(st.sampled_from(seeds(reader)))
    kept = data.draw(st.integers(0, len(seed)))
    inserted = data.draw(st.binary(max_size=64))
    left = data.draw(st.integers(0, len(seed)))
    path = tmp_path_factory.getbasetemp() / "input"
    path.write_bytes(seed[:kept] + inserted + seed[left:])
    assert run_reader(reader, path)


def test_the_child_finds_what_goes_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.child", str(tmp_path)]
    root = Path(__file__).parents[2]
    lines = "tiff 1\nzip 2\nnone 3\n"
    done = subprocess.run(
        command,
        input=lines,
        cwd=root,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [finding for _, finding, _ in answers[:2]] == ["", ""]
