"""What of a model learns, and in which number format."""
