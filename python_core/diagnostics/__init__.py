"""Why a strategy trades as it does."""
