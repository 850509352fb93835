"""What several vendors' SDKs have in common."""
