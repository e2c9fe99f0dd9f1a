"""Start a git repository, unless the folder is in one, and print the next commands."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import gettempdir

# cruft sets no output folder; to compare, it bakes into a temporary one
BY_CRUFT = "{{ cookiecutter._output_dir is not defined }}".startswith("T")


def remove_empty_folders(*roots: Path) -> None:
    """Remove folders whose files all belong to other answers."""
    for root in roots:
        for folder in sorted([root, *root.rglob("*")], reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def start_repository(folder: Path) -> None:
    """Run ``git init`` unless git is missing or the folder is in a repository."""
    in_repository = any(
        (parent / ".git").exists() for parent in (folder, *folder.parents)
    )
    git = shutil.which("git")
    if git and not in_repository and "GIT_DIR" not in os.environ:
        subprocess.run([git, "init", "--quiet"], cwd=folder, check=False)


if __name__ == "__main__":
    project = Path.cwd()
    remove_empty_folders(project / ".github", project / ".gitlab", project / "deploy")
    start_repository(project)
    if not BY_CRUFT or Path(gettempdir()).resolve() not in project.resolve().parents:
        print(f"\nNext:\n  cd {project.name}\n  make setup\n  make run", flush=True)
