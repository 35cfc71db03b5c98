# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one root of everything that this collection refuses or fails at."""

from __future__ import annotations


class StackError(Exception):
    """A sentence for the operator: what is wrong, with which value, and what to do."""


class BackupError(StackError):
    """A backup was not taken, or is not what it should be."""
