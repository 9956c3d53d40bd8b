"""`python -m tollhouse`."""

from tollhouse.gateway.cli import main

if __name__ == "__main__":
    main()
