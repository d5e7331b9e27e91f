"""The runyard command, and the embedded NATS and PostgreSQL."""
