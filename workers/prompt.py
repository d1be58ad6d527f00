"""What all commands share: the console, and the settings of this place."""

import os
import sys

from rich.console import Console

from workers.embedded.home import home_of
from workers.embedded.stack import read_settings
from workers.settings import Settings

WIDTH_OF_FILES = 150  # columns, where nobody has a screen: a reference and four amounts fit

console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
error_console = Console(highlight=False, stderr=True)


def settings_here() -> Settings:
    """The settings of the environment; what it does not say is that of the stack of this clone, where one runs."""
    for name, value in read_settings(home_of()).items():
        os.environ.setdefault(name, value)
    return Settings()


def say(line: str) -> None:
    """Tell a person one thing that has happened."""
    console.print(f"• {line}", markup=False)
