"""Whether the paper's claims hold: the rule in words, the kinds of claims, and the evidence that they rest on."""
