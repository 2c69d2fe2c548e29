"""Everything that can go wrong, as one tree.

Each error answers two questions: is it worth trying again (`retry`), and which HTTP status says it
(`http_status`). Its message is written for the person who sent the image: the fact, the limit, the
way out. Errors of vendors (gRPC, S3, Redis, tifffile) are mapped once, in their adapter.

    KioskError
    ├── UserError                 400  what was sent cannot be done
    │   ├── InvalidParameter      422
    │   ├── InvalidFileType       415  not a file this job understands
    │   ├── UnreadableImage       422  damaged, empty, or not an image at all
    │   ├── InvalidAxes           422  the axes do not fit the array
    │   ├── MissingChannel        422
    │   ├── UnusableImage         422  readable, but NaN, constant or empty
    │   ├── ImageTooLarge         413
    │   ├── FileTooLarge          413
    │   ├── UnreadableArchive     422  damaged, or built to do harm
    │   ├── ArchiveTooLarge       413  too many files, or too large once unpacked
    │   ├── UnusableMember        422  one file of an archive; the others may do
    │   ├── UnknownJobType        404
    │   ├── UnknownJob            404
    │   ├── UnknownModel          404
    │   ├── UnusableModel         422  a model that cannot be exported, or that no job could use
    │   ├── MissingObject         404  no such key in the bucket
    │   ├── UnsupportedByBucket   422  something that this kind of bucket cannot do
    │   └── InvalidKey            400  a key that leaves the bucket
    ├── PartFailed                500  a job that did a part of this one's work failed
    ├── ModelMismatch             500  the model's signature or reply is not what the job needs
    ├── MissingExtra              500  an optional part of this package is not installed
    ├── StorageDenied             500  the bucket does not exist or does not let this worker in
    ├── OutOfMemory               507
    ├── TimeLimit                 504  the job ran longer than its type allows
    ├── WorkerDied                500  again and again, while it ran the job
    ├── Cancelled                 409
    ├── ClaimLost                 409  another worker owns the job now, or it already ended
    ├── InternalError             500  a bug: an exception nobody foresaw
    └── TransientError            503  (retry)
        ├── ModelServerUnavailable
        ├── StorageUnavailable
        ├── StorageFull           507  somebody may free some space
        └── BrokerUnavailable
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    *("ArchiveTooLarge", "BrokerUnavailable", "Cancelled", "ClaimLost", "FileTooLarge"),
    *("ImageTooLarge", "InternalError", "InvalidAxes", "InvalidFileType", "InvalidKey"),
    *("InvalidParameter", "KioskError", "MissingChannel", "MissingExtra", "MissingObject"),
    *("ModelMismatch", "ModelServerUnavailable", "OutOfMemory", "PartFailed", "StorageDenied"),
    *("StorageFull", "StorageUnavailable", "TimeLimit", "TransientError", "UnknownJob"),
    *("UnknownJobType", "UnknownModel", "UnreadableArchive", "UnreadableImage"),
    *("UnsupportedByBucket", "UnusableImage", "UnusableMember", "UnusableModel", "UserError"),
    "WorkerDied",
]


class KioskError(Exception):
    """Root of the tree; `str(error)` is the sentence that a person reads."""

    retry: ClassVar[bool] = False
    http_status: ClassVar[int] = 500


class UserError(KioskError):
    """What was sent cannot be done; sending it again changes nothing."""

    http_status = 400


class InvalidParameter(UserError):
    """A parameter is unknown or its value is out of range."""

    http_status = 422


class InvalidFileType(UserError):
    """The file is of a kind that this job type does not understand."""

    http_status = 415


class UnreadableImage(UserError):
    """The file is damaged, empty, or not an image."""

    http_status = 422


class InvalidAxes(UserError):
    """The axes are unknown or do not fit the array."""

    http_status = 422


class MissingChannel(UserError):
    """The image has no channel of that index."""

    http_status = 422


class UnusableImage(UserError):
    """The image can be read, but its pixels cannot be worked with."""

    http_status = 422


class ImageTooLarge(UserError):
    """The image is over the limit of this queue."""

    http_status = 413


class FileTooLarge(UserError):
    """The file has more bytes than this queue takes."""

    http_status = 413


class UnreadableArchive(UserError):
    """The archive is damaged, or built to do harm."""

    http_status = 422


class ArchiveTooLarge(UserError):
    """The archive has too many files, or is too large once it is unpacked."""

    http_status = 413


class UnusableMember(UserError):
    """One file of an archive is refused; the others may do."""

    http_status = 422


class UnknownJobType(UserError):
    """No job type has that name."""

    http_status = 404


class UnknownJob(UserError):
    """The ledger has no job of that id (any more)."""

    http_status = 404


class UnknownModel(UserError):
    """The model, or that version of it, is not served."""

    http_status = 404


class UnusableModel(UserError):
    """The model cannot be exported, or no job type could use it."""

    http_status = 422


class MissingObject(UserError):
    """The bucket has no object of that key."""

    http_status = 404


class UnsupportedByBucket(UserError):
    """This kind of bucket cannot do that."""

    http_status = 422


class InvalidKey(UserError):
    """The key is not one inside the bucket."""


class PartFailed(KioskError):
    """A child job that did a part of this job's work has failed."""


class ModelMismatch(KioskError):
    """The model's signature, or what it answered, is not what the job needs."""


class MissingExtra(KioskError):
    """An optional part of this package is not installed here."""


class StorageDenied(KioskError):
    """The bucket does not exist, or does not let this worker do that."""


class OutOfMemory(KioskError):
    """The job needs more memory than the worker has."""

    http_status = 507


class TimeLimit(KioskError):
    """The job ran longer than its type allows."""

    http_status = 504


class WorkerDied(KioskError):
    """Workers died while they ran the job, as often as the operator allows."""


class Cancelled(KioskError):
    """The job was cancelled."""

    http_status = 409


class ClaimLost(KioskError):
    """Another run owns the job now, or it has already ended."""

    http_status = 409


class InternalError(KioskError):
    """An exception that nobody foresaw; the log has its trace."""


class TransientError(KioskError):
    """It may work in a moment."""

    retry = True
    http_status = 503


class ModelServerUnavailable(TransientError):
    """The model server does not answer, or not in time."""


class StorageUnavailable(TransientError):
    """The bucket does not answer."""


class StorageFull(TransientError):
    """There is no space left where files, results or intermediate values are written."""

    http_status = 507


class BrokerUnavailable(TransientError):
    """The broker does not answer."""
