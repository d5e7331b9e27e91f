"""The log on its way to clients: replayed from any place, then live, without decoding what passes through."""
