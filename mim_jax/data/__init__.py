"""Sources, decoding, the Grain pipeline, augmentation on the device."""
