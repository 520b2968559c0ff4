"""The contract's `error`: sorted by who can act on it."""


class Error(Exception):
    """What a plugin raises where it can't answer. Anything else that it raises is a mistake of its own: `failed`."""

    def __init__(self, kind: str, reason: str, *, key: str | None = None, retry_after: int | None = None):
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.key = key
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.reason if self.key is None else f"{self.key}: {self.reason}"

    @classmethod
    def invalid_config(cls, key: str | None, reason: str) -> "Error":
        """The operator mends `key` (dotted where nested; None: the whole) of the source's file."""
        return cls("invalid-config", reason, key=key)

    @classmethod
    def invalid_payload(cls, reason: str) -> "Error":
        """The sender mends what it sends. Say where and what: `alerts[2].labels: alertname is missing`."""
        return cls("invalid-payload", reason)

    @classmethod
    def unauthorized(cls, reason: str) -> "Error":
        """Somebody's credentials are wrong: answered 401 to a sender; a poll stops until its source's file changes."""
        return cls("unauthorized", reason)

    @classmethod
    def unavailable(cls, reason: str, retry_after: int | None = None) -> "Error":
        """Something else is down for now; `retry_after` is in milliseconds."""
        return cls("unavailable", reason, retry_after=retry_after)

    @classmethod
    def failed(cls, reason: str) -> "Error":
        """The plugin itself can't go on: the payload is kept as a dead letter and can be replayed."""
        return cls("failed", reason)
