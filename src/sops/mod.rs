//! SOPS text to tree and back: recipients, stanzas, data keys, MAC. Randomness is an argument.
