"""Run every measurement; the exit status is 1 if any goal was missed."""

from __future__ import annotations

import sys

from benchmarks import grpc_roundtrip, ledger, worker

sys.exit(max(worker.main(), ledger.main(), grpc_roundtrip.main()))
