"""One worker, the latest request wins: jobs, cancelling, streaming. Knows no method."""
