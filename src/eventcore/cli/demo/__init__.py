"""The demo: a shop at work, a crash, time travel and a rebuild, all of it checked."""
