"""How the latents read the byte array: one set of parameters, several evaluations that give the same."""
