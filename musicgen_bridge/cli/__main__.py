"""The command line without the script: `python -m musicgen_bridge.cli`."""

from musicgen_bridge.cli.program import main

if __name__ == "__main__":
    main()
