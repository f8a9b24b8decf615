"""What one method alone uses, a file each: its objective and parts. None uses another's."""
