"""An integer-only network as a page that runs it."""
