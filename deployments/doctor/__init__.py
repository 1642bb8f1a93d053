"""What `collect doctor` looks at: checks that answer findings, and repair what they safely can."""
