"""Work items of self-hosted environments, as far as more than one service has to do with them."""
