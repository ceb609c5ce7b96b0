"""Files of studies: texts and tables written whole or not at all, and read only where they are what was written."""

from saeattr.files.names import LONGEST_SLUG, slug
from saeattr.files.ordinary import check_ordinary
from saeattr.files.read import iter_rows, read_metadata, read_rows, read_stored_text, read_table
from saeattr.files.sums import (
    SUMS,
    UNLISTED,
    advice,
    alone,
    check_whole,
    fault,
    is_stored,
    known_sums,
    list_again,
    listed_sums,
    remove_stored,
    sha256_of,
    stored_files,
)
from saeattr.files.write import (
    disk_errors,
    join_parts,
    replacing,
    write_part,
    write_sums,
    write_table,
    write_tables,
    write_text,
)

__all__ = [
    "LONGEST_SLUG",
    "SUMS",
    "UNLISTED",
    "advice",
    "alone",
    "check_ordinary",
    "check_whole",
    "disk_errors",
    "fault",
    "is_stored",
    "iter_rows",
    "join_parts",
    "known_sums",
    "list_again",
    "listed_sums",
    "read_metadata",
    "read_rows",
    "read_stored_text",
    "read_table",
    "remove_stored",
    "replacing",
    "sha256_of",
    "slug",
    "stored_files",
    "write_part",
    "write_sums",
    "write_table",
    "write_tables",
    "write_text",
]
