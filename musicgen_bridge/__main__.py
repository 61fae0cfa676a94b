"""`python -m musicgen_bridge` is the command `musicgen-bridge`."""

from musicgen_bridge.cli import main

if __name__ == "__main__":
    main()
