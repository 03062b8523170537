"""The parent process: starts workers, watches them, replaces them. Never imports the application."""
