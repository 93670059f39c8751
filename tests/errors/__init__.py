"""Every error that a program can cause, word for word."""
