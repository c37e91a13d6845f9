"""The errors of the product, one hierarchy.

VisualSearchError
├── InputError                the caller gave something unusable; the caller can fix it
│   ├── ParameterError        a parameter or setting is out of range or contradicts another
│   ├── SourceError           a folder, manifest, table or log cannot be used as it is
│   └── BadImageError         a picture cannot be used
│       └── ImageTooLargeError    … because it exceeds a limit that was checked before decoding
├── DataError                 the data are readable but cannot give what the step needs
│   ├── NoPositivePairError   there is nothing to learn from
│   └── PoisonedVectorError   a vector is not finite, not of unit norm, or its id occurs twice
├── ContractError             an artifact does not match its manifest, or two artifacts do not belong together
│   ├── UnfinishedArtifactError   the producer of this directory did not finish it
│   ├── DamagedArtifactError      a file is missing, altered or of the wrong size
│   └── SpaceMismatchError        two embeddings of different spaces were about to be compared
├── ResourceError             the machine lacks something: disk, memory, a program
└── NotReadyError             the part exists but cannot answer yet

Every message is one sentence: what was expected, what came, from where, what to do.
"""

from __future__ import annotations


class VisualSearchError(Exception):
    """Root of all errors that this project raises on purpose."""


class InputError(VisualSearchError):
    """The caller gave something unusable and can fix it."""


class ParameterError(InputError):
    """A parameter or setting is out of range, unknown, or contradicts another."""


class SourceError(InputError):
    """A folder, manifest, table or log cannot be used as it is.

    Attributes:
        source: path or URI of what was read.
    """

    def __init__(self, message: str, *, source: str) -> None:
        super().__init__(message)
        self.source = source


class BadImageError(InputError):
    """A picture cannot be used; a batch continues without it.

    Attributes:
        reason: a short machine-readable word, for example "truncated", "not_an_image", "too_many_pixels".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ImageTooLargeError(BadImageError):
    """A picture exceeds a limit (bytes, pixels, sides, aspect, scans) that is checked before decoding."""


class DataError(VisualSearchError):
    """The data are readable but cannot give what the step needs."""


class NoPositivePairError(DataError):
    """There is no positive pair to learn from, in a batch or in the whole set."""


class PoisonedVectorError(DataError):
    """A vector is not finite, not of unit norm, or its id occurs twice.

    Attributes:
        row: the first offending row, counted from 0.
        image_id: its image, where known.
    """

    def __init__(self, message: str, *, row: int, image_id: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.image_id = image_id


class ContractError(VisualSearchError):
    """An artifact does not match its manifest, or two artifacts do not belong together."""


class UnfinishedArtifactError(ContractError):
    """The producer of a directory was stopped before it had finished."""


class DamagedArtifactError(ContractError):
    """A file of an artifact is missing, altered, foreign or of the wrong size.

    Attributes:
        file: name of the first offending file, relative to the artifact.
    """

    def __init__(self, message: str, *, file: str) -> None:
        super().__init__(message)
        self.file = file


class SpaceMismatchError(ContractError):
    """Two embeddings of different spaces were about to be compared."""

    def __init__(self, message: str, *, expected: str, received: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.received = received


class ResourceError(VisualSearchError):
    """The machine lacks something that the work needs: disk, memory, a program."""


class NotReadyError(VisualSearchError):
    """The part exists but cannot answer yet."""
