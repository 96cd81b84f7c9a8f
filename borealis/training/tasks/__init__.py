"""What is learned: which questions and answers an example is turned into."""
