"""What a program means, one sentence a test."""
