"""What the routes answer with."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runyard_workspace.domain.diff import Status


class Shape(BaseModel):
    """An answer: frozen, no unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Shape):
    """One line of a file list. Sizes are bytes."""

    path: str = Field(examples=["src/app.py"])
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    addressable: bool = True


class FileList(Shape):
    """A page of files; `next_after` continues it, `truncated` says that not all can be listed."""

    items: list[FileEntry]
    next_after: str | None
    truncated: bool


class FileContent(Shape):
    """A file or a part of it. `next_offset` is set when there is more."""

    path: str
    size: int
    etag: str
    modified_at: datetime
    executable: bool
    encoding: Literal["utf-8", "base64"]
    content: str
    offset: int
    next_offset: int | None


class FileWritten(Shape):
    """What a write has left."""

    path: str
    size: int
    etag: str
    created: bool


class NewContent(Shape):
    """The whole new content of a file."""

    content: str
    encoding: Literal["utf-8", "base64"] = "utf-8"


class ChangedFile(Shape):
    """What happened to one file. Binary files have no line counts; a submodule's path holds a commit."""

    path: str
    old_path: str | None
    status: Status
    insertions: int
    deletions: int
    binary: bool
    submodule: bool


class DiffView(Shape):
    """A diff as figures and as unified text, which `git apply` takes unless `truncated`.

    `skipped` names changed files that are too large to be compared.
    """

    session_id: str
    from_: str = Field(validation_alias="from_", serialization_alias="from")
    to: str
    files_changed: int
    insertions: int
    deletions: int
    files: list[ChangedFile]
    patch: str
    truncated: bool
    skipped: list[str]
