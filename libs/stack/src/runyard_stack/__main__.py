"""`python -m runyard_stack`: the same as `runyard`."""

from runyard_stack.cli.app import main

if __name__ == "__main__":
    main()
