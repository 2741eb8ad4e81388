"""Why a model decided as it did, and whether that explanation deserves belief."""
