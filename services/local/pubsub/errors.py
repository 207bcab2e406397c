import grpc


class PubsubError(Exception):
    """A request that Pub/Sub refuses; the message goes to the client as it stands."""

    status = grpc.StatusCode.INTERNAL


class InvalidArgument(PubsubError):
    """The request is wrong whatever the state of the system."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(PubsubError):
    """The topic, subscription, snapshot or schema does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExists(PubsubError):
    """The name is taken."""

    status = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(PubsubError):
    """The resource is not in a state that allows the operation."""

    status = grpc.StatusCode.FAILED_PRECONDITION
