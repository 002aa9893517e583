"""One file per modality: bytes of a raw file to the array that is stored, or a refusal with its reason."""
