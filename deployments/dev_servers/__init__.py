"""Private servers of the full stack as processes of this machine: for tests, and for people without Docker."""
