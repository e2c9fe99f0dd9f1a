"""Draw the terminal pictures of README: what a baked service prints, in an SVG file each."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
COLUMNS = 80
MISTAKE = """

@bp.get("/countries")
@cacheable(max_age=3600, public=True, reason="the countries, yearly")
def countries() -> ResponseReturnValue:
    return {"countries": ["Chad", "Peru"]}
"""
# without the web fonts that rich links to
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"


def run(folder: Path, *command: str) -> str:
    """Run a command in a folder and return what it prints, in colour."""
    environ = os.environ | {"PRE_COMMIT_COLOR": "always", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def draw(name: str, command: str, output: str) -> None:
    """Write what a terminal of 80 columns shows."""
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))
    console.print(f"[bold]$ {command}[/bold]", highlight=False)
    console.print(Text.from_ansi(output.rstrip()))
    svg = console.export_svg(title="", unique_id=name)
    fonts = svg.partition("<style>")[2].partition(f".{name}-matrix")[0]
    svg = svg.replace(fonts, "\n\n    ").replace("Fira Code, monospace", FONT)
    lines = (line.rstrip() for line in svg.splitlines())
    (HERE / f"{name}.svg").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Cookiecutter leaves files behind
        tempfile.tempdir = folder
        service = Path(cookiecutter(str(HERE.parent), no_input=True, output_dir=folder))
        run(service, "make", "setup", f"PYTHON={sys.executable}")
        run(service, "git", "add", "--all")
        run(service, "git", "-c", "core.hooksPath=/dev/null", "commit", "-m", "start")
        python = service / ".venv" / "bin" / "python"
        routes = [str(python), "-m", "flask", "nocache", "routes"]
        draw("routes", "flask nocache routes", run(service, *routes))
        api = service / "saved_items" / "api.py"
        source = api.read_text("utf-8").replace(
            "from .nocache import ApiBlueprint",
            "from .nocache import ApiBlueprint\nfrom .nocache import cacheable",
        )
        api.write_text(source + MISTAKE, "utf-8")
        commit = ["git", "commit", "--all", "--message", "list the countries"]
        refusal = run(service, *commit)
        draw("refused-commit", 'git commit -am "list the countries"', refusal)


if __name__ == "__main__":
    main()
