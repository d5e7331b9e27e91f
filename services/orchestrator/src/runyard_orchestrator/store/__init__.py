"""The orchestrator's tables: projections of the log, how they follow it and how decisions read them."""
