"""The commands. The only part of nvc that reads argv, prints, and exits."""
