"""Pure decisions of the workspace service: no input or output in here."""
