"""Own recordings as people have them -> manifests: formats, what they say, clips cut by it."""
