"""What is known of single features: where they fire, what they write, what makes them active, where they recur."""
