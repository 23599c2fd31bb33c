"""What is said of an interview whose reading ended in an error that nobody foresaw."""

from __future__ import annotations


def unforeseen_reason(error: Exception) -> str:
    """Return the reason for the tables: the kind of error alone, since its text may hold a path.

    Parameters
    ----------
    error : Exception
        Not an `InputError`, which says itself what was wrong.

    Returns
    -------
    str
        For example ``reading it ended in an unforeseen error (IndexError)``.
    """
    return f"reading it ended in an unforeseen error ({type(error).__name__})"
