"""`python -m restead` is the command `restead`."""

from restead.app import main

if __name__ == "__main__":
    main()
