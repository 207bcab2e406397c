"""What a user can be told in a sentence."""


class ClientError(Exception):
    """What was asked cannot be done; the message says why in one line."""


class InvalidRequestError(ClientError):
    """The request is not one that the pipeline would accept; the message names every wrong field.

    Args:
        expected: what is wrong, in a line.
        field: where it is one field that is wrong.
        got: what was given for it.

    """

    def __init__(self, expected: str, *, field: str | None = None, got: object = None) -> None:
        super().__init__(f"{field}: {expected}" if field else expected)
        self.expected, self.field, self.got = expected, field, got
