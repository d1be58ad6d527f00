"""Rules as versioned data, and the decision that they come to. Never on the way of captures or balance reads."""
