"""A format is a file here with an `IMPORTER`; `borealis.data.importers.registry` finds it."""
