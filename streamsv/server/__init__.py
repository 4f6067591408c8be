"""The server: one ASGI application, one engine, many calls.

:func:`streamsv.server.app.create_app` makes the application; :mod:`streamsv.server.config` has
every default.
"""
