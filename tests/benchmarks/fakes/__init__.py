"""Works whose implementations are a few lines of Python."""
