"""`python -m demo [--picture FILE]`; KEEP=1 in the environment keeps its folder."""

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import httpx2
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from demo.stage import WIDEST, NotProven, Stage
from demo.story import tell


def main() -> int:
    """Tell the story; 0 only if every step of it was proven."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--picture", type=Path, help="write what the terminal showed to this SVG file")
    picture: Path | None = parser.parse_args().picture
    console = Console(highlight=False, record=picture is not None)
    if picture is not None or not console.is_terminal:
        console.width = WIDEST
    folder = Path(tempfile.mkdtemp(prefix="restead-demo-"))
    stage = Stage(console)
    try:
        tell(stage, folder)
    except (NotProven, httpx2.TransportError) as error:
        console.print(Text(f"\n  not proven: {error}\n", "bold red"))
        return 1
    except KeyboardInterrupt:
        console.print(Text("\n  interrupted\n", "red"))
        return 130
    finally:
        _clean_up(folder, console)
    without = f", without {' and '.join(stage.left_out)}" if stage.left_out else ""
    console.print()
    ending = Text(f"{without}: {stage.seconds:.0f} s", "dim")
    console.print(Text("  web-1 is back, every byte of it", "bold green") + ending)
    console.print()
    if picture is not None:
        # Without the fonts that rich would have the picture load from elsewhere: any monospaced one will do.
        plain = re.sub(r"@font-face \{\{.*?\}\}|<!--.*?-->", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        fonts = "Menlo, Consolas, DejaVu Sans Mono"
        console.save_svg(str(picture), title="make demo", code_format=plain.replace("Fira Code", fonts))
    return 0


def _clean_up(folder: Path, console: Console) -> None:
    if os.environ.get("KEEP") == "1":
        console.print(Text(f"\n  kept: {folder}", "dim"))
    else:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
