"""Raw files to shards: the room that decodes once, so that training never does."""
