"""From outside into the log: lines of wire events, checked and appended in batches, each once."""
