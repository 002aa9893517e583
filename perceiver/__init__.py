"""The network: byte arrays of any modality in, logits out, and one optimizer step. Pure torch."""
