"""Files as they come in and go out, and how much room they take."""
