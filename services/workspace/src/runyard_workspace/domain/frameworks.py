"""Web frameworks as data: how a project of each is recognised, and what serves it."""

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

_Pattern = Annotated[re.Pattern[str], BeforeValidator(re.compile)]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Fact):
    """One condition: a package among the dependencies, or a file, each with a pattern of version or content."""

    package: str | None = None
    version: _Pattern | None = None
    file: str | None = None
    content: _Pattern | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.package is None) == (self.file is None):
            raise ValueError("a rule is about a package or about a file")
        return self

    def holds(self, files: Mapping[str, str | None], packages: Mapping[str, str]) -> bool:
        """Whether it is true of a folder: its files (None: there, but not read) and its dependencies."""
        if self.package is not None:
            version = packages.get(self.package)
            return version is not None and (self.version is None or self.version.search(version) is not None)
        if self.file is None or self.file not in files:
            return False
        text = files[self.file]
        return self.content is None or (text is not None and self.content.search(text) is not None)


class Framework(_Fact):
    """A framework. `serve` starts its development server, `listen` is what makes it listen on `$HOST:$PORT`."""

    slug: str
    name: str
    every: tuple[Rule, ...]
    some: tuple[Rule, ...]
    supersedes: tuple[str, ...]
    serve: str
    listen: str
    build: str | None
    output: str | None

    def matches(self, files: Mapping[str, str | None], packages: Mapping[str, str]) -> bool:
        """Whether a folder holds a project of it."""
        if not self.every and not self.some:
            return False
        some = not self.some or any(rule.holds(files, packages) for rule in self.some)
        return some and all(rule.holds(files, packages) for rule in self.every)


class Frameworks(_Fact):
    """The list, in the order in which the first match wins."""

    notice: str
    version: str
    frameworks: tuple[Framework, ...]

    def files(self) -> dict[str, bool]:
        """Every file that a rule asks for, and whether for its content."""
        asked: dict[str, bool] = {}
        for framework in self.frameworks:
            for rule in (*framework.every, *framework.some):
                if rule.file is not None:
                    asked[rule.file] = asked.get(rule.file, False) or rule.content is not None
        return asked

    def matching(self, files: Mapping[str, str | None], packages: Mapping[str, str]) -> list[Framework]:
        """Those that a folder's project is of, without those that another one of them supersedes."""
        found = [one for one in self.frameworks if one.matches(files, packages)]
        superseded = {slug for one in found for slug in one.supersedes}
        return [one for one in found if one.slug not in superseded]
