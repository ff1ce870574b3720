"""Is this computer ready?"""
