"""The outside of the workspace service: Git and the disk."""
