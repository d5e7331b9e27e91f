"""What integrators read, generated from the catalogue: JSON Schema, AsyncAPI and a page for people."""
