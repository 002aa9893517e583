"""S3 through boto3: one request, asked until it is answered, and errors in words that lead out of them."""

import os
import random
import time
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from cluster.mistake import AwayError, UserError

CONNECT_SECONDS = 10
READ_SECONDS = 60
CONNECTIONS = 32

FAILURES = (BotoCoreError, ClientError, HTTPError, ResponseParserError)
PASSING = (
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    HTTPError,
    IncompleteReadError,
    ResponseParserError,
)
PASSING_STATUS = {429, 500, 502, 503, 504, 509}
PASSING_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}

GONE = {"NoSuchKey", "404", "NotFound"}
# HEAD has no body, so its codes are numbers.
NUMBERED = {"412": "PreconditionFailed", "416": "InvalidRange", "501": "NotImplemented"}

RIGHTS = (
    "The credentials may not do this: grant them GetObject, PutObject, DeleteObject, ListBucket, "
    "AbortMultipartUpload and ListBucketMultipartUploads there, or name another place."
)
KEYS = "Mend AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names."
REGION = (
    "Set AWS_DEFAULT_REGION to the region of the bucket, or AWS_ENDPOINT_URL to the server that holds it."
)
CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, on every machine that takes part; a "
    "bucket that is not Amazon's also needs AWS_ENDPOINT_URL."
)
NAME = "Give it a shorter or plainer name."
FULL = "Free some room there or raise the quota and run again; what is finished is kept."
WAY_OUT = {
    "NoSuchBucket": "There is no such bucket: create it there, or name another.",
    "InvalidBucketName": "The server does not take this bucket's name: name another.",
    "AccessDenied": RIGHTS,
    "AllAccessDisabled": RIGHTS,
    "Forbidden": RIGHTS,
    "403": RIGHTS,
    "InvalidAccessKeyId": f"The server does not know the access key. {KEYS}",
    "SignatureDoesNotMatch": f"The secret does not belong to the access key. {KEYS}",
    "ExpiredToken": "The credentials have expired: log in again.",
    "InvalidToken": "The session token is not valid: log in again.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "AuthorizationHeaderMalformed": REGION,
    "PermanentRedirect": REGION,
    "301": REGION,
    "InvalidObjectName": NAME,
    "InvalidURI": NAME,
    "KeyTooLongError": NAME,
    "QuotaExceeded": FULL,
    "InsufficientCapacity": FULL,
    "XMinioStorageFull": FULL,
}


class RefusedError(Exception):
    """An answer that the asker expected."""


class CutError(Exception):
    """The connection ended before the content did."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server that is away, or asks to slow down, is asked again."""

    seconds: float = 45.0
    """From the first failure to the last try. A gateway that starts anew is away for some 15 s."""
    first: float = 0.2
    """Seconds before the second try; each later pause is twice as long, up to `longest`."""
    longest: float = 5.0
    """Seconds of the longest pause."""

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each further try, from the first failure on."""
        end = time.monotonic() + self.seconds
        pause = self.first
        while (left := end - time.monotonic()) > 0:
            # Half of it by chance, so that many workers do not come back together.
            yield min(left, pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, self.longest)


@dataclass(frozen=True)
class Gateway:
    """The server behind one bucket."""

    bucket: str
    patience: Patience

    def ask(self, operation: str, key: str = "", expected: Container[str] = (), **request: Any) -> Any:
        """The answer of boto3's `operation`, which is asked again for as long as another try can help.

        Raises:
            FileNotFoundError: there is no such key.
            RefusedError: the server's answer is one of those `expected`.
            UserError: it can be mended, but not by asking again.
        """
        named = {"Bucket": self.bucket, **({"Key": key} if key else {}), **request}
        pauses = self.patience.pauses()
        while True:
            rewind(named.get("Body"))
            try:
                return getattr(self.client(key), operation)(**named)
            except FAILURES as error:
                pause = next(pauses, None) if passes(error) else None
                if pause is None:
                    raise self.failure(error, key, expected) from error
            time.sleep(pause)

    def piece(self, stream: Any, size: int, key: str) -> bytes:
        """The next `size` bytes of a body, or fewer, but never none.

        Raises:
            CutError: the connection ended.
        """
        try:
            piece = stream.read(size)
        except FAILURES as error:
            if passes(error):
                raise CutError from error
            raise self.failure(error, key) from error
        if not piece:
            raise CutError
        return piece

    def client(self, key: str = "") -> Any:
        """boto3's client, one for each process and environment."""
        variables = tuple(sorted(pair for pair in os.environ.items() if pair[0].startswith("AWS_")))
        try:
            return _client(os.getpid(), variables)
        except (BotoCoreError, ValueError) as error:
            raise UserError(f"{self.name(key)} cannot be reached: {error}. {CREDENTIALS}") from error

    def name(self, key: str) -> str:
        """How a person calls the key."""
        return f"s3://{self.bucket}/{key}" if key else f"s3://{self.bucket}"

    def failure(self, error: Exception, key: str, expected: Container[str] = ()) -> Exception:
        """What went wrong for good, in words that say the way out."""
        where = f"{self.name(key)} at {self.client(key).meta.endpoint_url}"
        if isinstance(error, ClientError):
            if NUMBERED.get(code_of(error), code_of(error)) in expected:
                return RefusedError(code_of(error))
            return self.answered(error, key, where)
        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            return UserError(f"{where}: no credentials were found. {CREDENTIALS}")
        if isinstance(error, SSLError):
            return UserError(f"{where}: {error}. AWS_CA_BUNDLE names the file with the server's authority.")
        if passes(error):
            return AwayError(
                f"{where} has not answered for {self.patience.seconds:.0f} s ({type(error).__name__}). Is "
                f"the server up, and is AWS_ENDPOINT_URL right? Run again then; what is finished is kept."
            )
        return UserError(f"{where}: {error}. {CREDENTIALS}")

    def answered(self, error: ClientError, key: str, where: str) -> Exception:
        """The same for an answer of the server."""
        code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
        if code in GONE and key:
            return FileNotFoundError(f"{where} does not exist")
        if passes(error):
            return AwayError(
                f"{where} has answered {code} for {self.patience.seconds:.0f} s. Run again when it has less "
                f"to do, or with fewer workers; what is finished is kept."
            )
        if code in WAY_OUT:
            return UserError(f"{where} answers {code}. {WAY_OUT[code]}")
        return UserError(f"{where} answers {code} ({message}). Ask those who run the server what that means.")


def rewind(body: Any) -> None:
    """Go back to the beginning of a file that is about to be sent."""
    if hasattr(body, "seek"):
        body.seek(0)


def passes(error: Exception) -> bool:
    """Whether asking again can help."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status in PASSING_STATUS or code_of(error) in PASSING_CODES
    return isinstance(error, PASSING) and not isinstance(error, SSLError)


def code_of(error: ClientError) -> str:
    """The server's word for what is wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


@lru_cache(maxsize=8)
def _client(process: int, variables: tuple[tuple[str, str], ...]) -> Any:  # noqa: ARG001 - what it is kept by
    """The client of this process: sockets must not pass a fork, and the environment decides where it goes."""
    config = Config(
        # One policy for all failures, ours: botocore's leaves out bodies that are cut, and its quota of
        # retries is used up within seconds when many threads find the server away.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        # Servers older than 2025 refuse the trailers that botocore adds by default; we send our own sums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.Session().client("s3", config=config)
