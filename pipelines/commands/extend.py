"""`visual-search extend`: new and removed images reach what is served, without training or building an index again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from components.shared.errors import ParameterError
from components.shared.files.tables import ITEMS
from pipelines.settings import Settings

_SHOWN = 10


@dataclass(frozen=True)
class ExtendOptions:
    """Images to add and to remove.

    Attributes:
        root: folder of the served releases; None: the one below the home folder.
        images: folder or manifest of all images as they are now; what is served and not in it goes.
        add: folder or manifest of images that come.
        remove: ids of images that go.
    """

    root: Path | None = None
    images: str | None = None
    add: str | None = None
    remove: list[str] = field(default_factory=list)


def extend(settings: Settings, wanted: ExtendOptions) -> str:
    """Extend what is served and return what was done, in words.

    Raises:
        ParameterError: neither or both of a whole and a partial listing are given.
        VisualSearchError: see `components.embedding.additions.extend`.
    """
    from components.catalogue.listing import Listing, list_images
    from components.catalogue.parameters import CatalogueParameters
    from components.embedding import additions

    if (wanted.images is not None) == (wanted.add is not None or bool(wanted.remove)):
        raise ParameterError("give either --images (all images as they are now), or --add and --remove")
    source = wanted.images or wanted.add
    listing = Listing(ITEMS.schema.empty_table(), [])
    if source is not None:
        listing = list_images(source, workspace=settings.workspace, parameters=CatalogueParameters())
    root = wanted.root or settings.home.absolute() / "served"
    done = additions.extend(root, listing.items, is_whole=wanted.images is not None, remove=wanted.remove)
    problems = [(picture.uri, picture.message) for picture in listing.refused]
    problems += [(uri, message) for uri, _, message in done.failures]
    lines = [
        f"generation {done.number} ({done.generation_id}) is being served: {done.added} images added, {done.removed} removed"
        if done.generation_id
        else "the served release is up to date; nothing was changed"
    ]
    if problems:
        lines.append(f"{len(problems)} pictures cannot be used:")
        lines += [f"  {uri}: {message}" for uri, message in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"  and {len(problems) - _SHOWN} more")
    return "\n".join(lines)
