"""What is worth measuring next. Pure: no I/O, no clock."""
