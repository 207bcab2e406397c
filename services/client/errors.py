"""What a user can be told in a sentence."""


class ClientError(Exception):
    """What was asked cannot be done; the message says why in one line."""


class InvalidRequestError(ClientError):
    """The request is not one that the pipeline would accept; the message names every wrong field."""
