"""From an exchange to the user's application and back. Knows the engine's verbs, never a socket."""
