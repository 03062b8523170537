"""The applications of the built-in workloads: the same work for WSGI (Flask) and for ASGI (FastAPI).

They are served by `eitherway serve`, in processes of their own; the rest of the lab never imports them.
"""
