import grpc


class PubsubError(Exception):
    """A request that Pub/Sub refuses; the message goes to the client as it stands."""

    status = grpc.StatusCode.INTERNAL


class InvalidArgumentError(PubsubError):
    """The request is wrong whatever the state of the system."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class OutOfRangeError(PubsubError):
    """A number is too small or too large, where Pub/Sub does not call that an invalid argument."""

    status = grpc.StatusCode.OUT_OF_RANGE


class NotFoundError(PubsubError):
    """The topic, subscription, snapshot or schema does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(PubsubError):
    """The name is taken."""

    status = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(PubsubError):
    """The resource is not in a state that allows the operation."""

    status = grpc.StatusCode.FAILED_PRECONDITION
