"""`python -m toolkit`, the same as `toolkit`."""

from toolkit.cli import main

main()
