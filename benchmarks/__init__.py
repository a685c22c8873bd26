"""Speed and memory, measured in pairs against a peer or the bare limit; each module prints a table and a JSON line."""
