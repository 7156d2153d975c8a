"""The command `dclib`, also as `python -m dclib`."""

import sys

from dclib.errors import without_extra


def main(arguments: list[str] | None = None) -> int:
    """Run one command as `dclib.cli.main` does, or say what it needs to be installed."""
    try:
        from dclib import cli

        return cli.main(arguments)
    except ModuleNotFoundError as error:
        print(f"dclib: {without_extra('the command dclib', error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
