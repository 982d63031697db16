"""One file or folder for each thing outside the process; each implements ports and knows no other."""
