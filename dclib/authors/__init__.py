"""The networks that the authors published: their files checked and read, their arrays put into networks of ours."""

from dclib.authors.conversion import corrected_filters, load_arrays
from dclib.authors.reading import checked_file, git_blob, read_arrays

__all__ = ["checked_file", "corrected_filters", "git_blob", "load_arrays", "read_arrays"]
