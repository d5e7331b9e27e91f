"""What a person who uses the `runyard` command can run into."""


class StackError(Exception):
    """Something that stops a command, with what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}\n  {remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy
