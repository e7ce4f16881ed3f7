"""python -m bratseval."""

from bratseval.cli import main

if __name__ == "__main__":
    main()
