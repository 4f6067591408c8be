"""Plain HTTP: voiceprints, tickets, results of sessions, health and figures."""
