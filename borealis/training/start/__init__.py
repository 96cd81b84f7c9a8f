"""What a run begins with, where a part of the model is made from nothing."""
