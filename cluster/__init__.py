"""Where runs happen and where bytes live: Ray sessions and storage."""
