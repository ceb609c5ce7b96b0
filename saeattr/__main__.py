"""``python -m saeattr``."""

from saeattr.cli import main

if __name__ == "__main__":
    main()
