"""Video in, table out: decoding, faces, segments, prompts, zero-shot scores, extraction."""
