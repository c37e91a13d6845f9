"""A manifest whose name is the digest of its contents, so that an altered manifest no longer fits its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from components.shared.errors import ContractError, UnfinishedArtifactError
from components.shared.files.atomic import digest_of


class SealedManifest(BaseModel):
    """The manifest of a directory; one of its fields, the name, is the digest of all others.

    Class attributes:
        kind: noun for messages.
        name_field: the field that holds the name.
        prefix: first characters of every name.
        most_bytes: upper limit for the size of a valid file.
        remedy: advice on a bad manifest, for messages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    name_field: ClassVar[str]
    prefix: ClassVar[str]
    most_bytes: ClassVar[int]
    remedy: ClassVar[str]

    def digest(self) -> str:
        """Return the name that belongs to the contents."""
        # Not mode="json": that would write NaN as null, and a NaN must be refused, not lost.
        return self.prefix + digest_of(self.model_dump(exclude={self.name_field}))[:16]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest and check that its name is the digest of its contents.

        Raises:
            UnfinishedArtifactError: it is missing (MLflow gives an empty folder for a version whose files were deleted).
            ContractError: the manifest is unreadable, of a newer version, or altered.
        """
        if not path.is_file():
            raise UnfinishedArtifactError(
                f"{path.parent} holds no {path.name}, so it is not a {cls.kind}; {cls.remedy}"
            )
        if path.stat().st_size > cls.most_bytes:
            raise ContractError(f"{path} has more than {cls.most_bytes} bytes; the manifest of a {cls.kind} never has")
        try:
            manifest = cls.model_validate(json.loads(path.read_bytes()))
            digest = manifest.digest()
        except (ValueError, ValidationError, RecursionError) as error:
            raise ContractError(f"{path} is not the manifest of a {cls.kind} of version 1: {error}") from error
        name = getattr(manifest, cls.name_field)
        if digest != name:
            raise ContractError(f"{path} was altered: its contents do not give {name}; {cls.remedy}")
        return manifest
