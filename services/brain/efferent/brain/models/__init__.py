"""All models behind one ``Model``: routing, silent retries and fallback between providers."""
