"""The version of the tool. FORMAT_NUMBER of nvc.bitstream is the version of the files."""

__version__ = "0.1.0"
