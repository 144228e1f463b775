"""Dreams: sessions that read a memory store and the transcripts of other sessions, and write the store anew."""
