"""Put measured tables into a page, between its lines `<!-- results -->` and `<!-- /results -->`.

python mk/readme.py README.md TABLE.md...
"""

import sys
from pathlib import Path

BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"


def filled(page: str, tables: list[str]) -> str:
    """The page with the block's content replaced. ValueError where the block is not there exactly once."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError("has not one block <!-- results --> ... <!-- /results -->")
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + "\n\n".join(table.strip() for table in tables) + "\n\n" + END + rest.split(END)[1]


def main() -> int:
    page, *tables = map(Path, sys.argv[1:])
    if not tables:
        print("nothing was measured yet: run make bench first", file=sys.stderr)
        return 2
    try:
        page.write_text(filled(page.read_text(), [table.read_text() for table in tables]))
    except ValueError as error:
        print(f"{page}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
