"""`python -m qhn` is the `qhn` command of `qhn.cli`."""

from .cli import main

if __name__ == "__main__": main()
