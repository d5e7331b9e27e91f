"""The event contract: envelope, catalogue, subjects, topology, append, replay, projection."""
