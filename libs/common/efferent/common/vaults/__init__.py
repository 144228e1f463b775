"""What is done with vaults beyond reading and writing them: sealing, cascades, renewing tokens, trying them."""
