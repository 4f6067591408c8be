"""The command line: one file a command; each parses, calls, prints, no more.

What the commands share: :mod:`main` turns every outcome into an exit code, and :mod:`entry` does so
for what happens before it is imported; :mod:`playback` sends sound through a session, and a
:mod:`screens` screen shows what the session says, as JSON lines, as lines for a log, or as a live
picture (:mod:`render`).
"""
