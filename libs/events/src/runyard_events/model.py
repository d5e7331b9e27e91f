"""The base of everything that travels: frozen, strict, camelCase on the wire."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Wire(BaseModel):
    """A value that is read from and written to the wire.

    Python names are snake_case, JSON names camelCase; both are accepted when reading, unknown
    fields are refused, and a value never changes once made.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        ser_json_inf_nan="null",
    )
