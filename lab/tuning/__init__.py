"""Does fine-tuning help? Recordings of a stranger and of a trade, and what nano learns of them."""
