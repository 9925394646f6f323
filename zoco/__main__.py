"""`python -m zoco`: the same command, for whoever knows the interpreter and not where `zoco` was installed."""

from zoco.cli import main

main()
