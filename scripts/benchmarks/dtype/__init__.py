"""What does bfloat16 cost?"""
