"""How a running job learns that nobody waits for it any more."""

from __future__ import annotations

from typing import Literal

Reason = Literal["superseded", "cancelled", "closed"]


class Cancelled(Exception):  # noqa: N818 (an outcome, not a mistake)
    """Raised by `Token.check` when the job should stop; `reason` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Token:
    """Given to every job. The job decides when to look at it."""

    __slots__ = ("reason",)

    def __init__(self) -> None:
        self.reason: Reason | None = None

    def cancel(self, reason: Reason) -> None:
        """Ask the job to stop. The newest reason counts, but closing is final."""
        if self.reason != "closed":
            self.reason = reason

    @property
    def cancelled(self) -> bool:
        """Whether the job should stop."""
        return self.reason is not None

    def check(self) -> None:
        """Raise `Cancelled` if the job should stop."""
        if self.reason is not None:
            raise Cancelled(self.reason)
