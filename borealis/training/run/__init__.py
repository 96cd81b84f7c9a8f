"""Run folders: what each part was made from, and whether a command may go on with it."""
