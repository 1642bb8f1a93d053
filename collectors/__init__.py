"""What is collected, by which rules: the domain and the sources. No Prefect, no environment, no globals."""
