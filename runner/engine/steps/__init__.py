"""What each kind of step does. A step returns how it ended, or raises `StopJob` to end all steps."""
