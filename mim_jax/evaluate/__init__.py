"""What the encoder is good for; evaluation(encode, data) -> {name: number}."""
