"""What does attribution cost?"""
