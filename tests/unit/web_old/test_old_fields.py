"""What a record says in the old Kiosk's words, beside ours."""

from __future__ import annotations

import pytest

from kiosk_tasks.ledger import Record
from kiosk_tasks.ledger.old_fields import at_the_end, of_children

IMAGE = {"axes": "TYX", "shape": [3, 8, 8]}


def test_at_the_end_of_a_job() -> None:
    record = Record("a", {"retries": "2"})
    told = at_the_end(record, {"image": IMAGE, "seconds": {"split": 1.5, "link_cells": 0.25}})
    assert told == {
        **{"predict_retries": "2", "dim_order": "TYX"},
        **{"prediction_time": "1.5000", "postprocess_time": "0.2500"},
    }


def test_at_the_end_of_an_archive_what_its_files_said_stands() -> None:
    record = Record("a", {"dim_order": "YX,YX", "predict_retries": "0,1"})
    told = at_the_end(record, {"seconds": {"unpack": 1.0, "pack_results": 2.0}})
    assert told == {"children_upload_time": "1.0000", "cleanup_time": "2.0000"}


def test_lists_of_an_archive_have_an_entry_for_each_file() -> None:
    done = [Record("a", {"dim_order": "YX", "upload_time": "1"}), Record("b", {"upload_time": "2"})]
    told = of_children(done)
    assert (told["dim_order"], told["upload_time"]) == ("YX,", "1,2")
    assert of_children([]) == {}


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"prediction_time": "1", "upload_time": "2"}, {"predict": 1.0, "upload": 2.0}),
        (
            {"split_time": "1", "prediction_time": "1", "upload_time": "2", "total_time": "4"},
            {"split": 1.0, "upload": 2.0},
        ),
        (
            {
                **{"job_type": "predict-zip", "unpack_time": "1", "children_upload_time": "1"},
                **{"download_time": "1,2", "prediction_time": "3"},
            },
            {"unpack": 1.0},
        ),
    ],
)
def test_no_stage_counts_twice(fields: dict[str, str], seconds: dict[str, float]) -> None:
    assert Record("a", fields).seconds() == seconds
