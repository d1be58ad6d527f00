"""The provider simulator, spoken to as any provider is: over HTTP, in its words."""
