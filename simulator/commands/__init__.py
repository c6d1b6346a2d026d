"""The commands of ``skipper``, each a module of its own."""
