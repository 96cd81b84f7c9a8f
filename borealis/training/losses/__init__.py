"""What a batch is judged by."""
